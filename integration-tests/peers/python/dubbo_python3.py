"""dubbo-python3, a consumer of `jsonrpc` providers, as a peer of the tests. It runs until it is killed.

consume CONNECT INTERFACE GROUP VERSION  registers a consumer, then says which providers it has, after each change:
                                         "providers host:port weight N, ...", with "disabled" behind what operators took out, or
                                         "providers none"
"""

import sys
import time

from dubbo_client import ZookeeperRegistry

what, connect, interface, group, version = sys.argv[1:]
registry = ZookeeperRegistry(connect)
registry.register(interface)
registry.subscribe(interface, group=group, version=version)
said = None
while True:
    providers = dict(registry.get_providers(interface, group=group, version=version))
    shown = [
        f"{location} weight {url.weight}{' disabled' if url.disabled else ''}"
        for location, url in sorted(providers.items())
    ]
    now = "providers " + (", ".join(shown) or "none")
    if now != said:
        print(now, flush=True)
        said = now
    time.sleep(0.01)
