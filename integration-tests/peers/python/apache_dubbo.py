"""apache-dubbo, the official one, as a peer of the tests. It runs until it is killed. It takes no chroot: ROOT is a path.

register SERVER ROOT URL        registers a provider, says "registered"
watch    SERVER ROOT INTERFACE  says what it is told of, after each change: "providers url, ..." with the
                                parameters below, or "providers none"
"""

import sys
import time

from dubbo.registry import NotifyListener
from dubbo.registry.zookeeper.zk_registry import ZookeeperRegistryFactory
from dubbo.url import create_url

SHOWN = ("disabled", "group", "note", "version", "weight", "zone")


class Teller(NotifyListener):
    def notify(self, urls):
        print("providers", ", ".join(sorted(map(shown, urls))) or "none", flush=True)


def shown(url):
    parameters = " ".join(f"{key}={url.parameters[key]}" for key in SHOWN if key in url.parameters)
    return f"{url.scheme}://{url.location}/{url.path} {parameters}"


what, server, root, subject = sys.argv[1:]
registry = ZookeeperRegistryFactory().get_registry(create_url(f"zookeeper://{server}?group={root}"))
if what == "register":
    registry.register(create_url(subject))
    print("registered", flush=True)
else:
    registry.subscribe(create_url(f"tri://127.0.0.1/{subject}"), Teller())
while True:
    time.sleep(60)
