"""Twitter's commons as a peer of the tests, on a Python that they were not written for. It runs until it is killed.

register CONNECT PATH HOST PORT  joins the serverset with the additional endpoint `admin` at PORT + 1, says "registered"
watch    CONNECT PATH            says who is in it, after each change: "members host:port status name=host:port ..., ..."
"""

import sys
import time
import warnings

warnings.simplefilter("ignore")

from kazoo.client import KazooClient
from twitter.common.zookeeper.serverset.endpoint import Endpoint, ServiceInstance
from twitter.common.zookeeper.serverset.serverset import ServerSet

# Text was bytes in Python 2, and a node's data are bytes.
pack = ServiceInstance.pack
ServiceInstance.pack = classmethod(lambda _, instance: pack(instance).encode())


def shown(instance):
    if instance is None:
        return "unreadable"
    additional = sorted(instance.additional_endpoints.items())
    words = [f"{name}={endpoint}" for name, endpoint in additional]
    return " ".join([str(instance.service_endpoint), str(instance.status), *words])


what, connect, path = sys.argv[1:4]
client = KazooClient(hosts=connect, timeout=4.0)
client.start(timeout=20)
if what == "register":
    host, port = sys.argv[4], int(sys.argv[5])
    serverset = ServerSet(client, path)
    serverset.join(Endpoint(host, port), {"admin": Endpoint(host, port + 1)}, shard=7)
    print("registered", flush=True)
    while True:
        time.sleep(60)
said = None
while True:
    # Each look is a new one: a member that left stays known to the group, which fails to tell of it on Python 3.
    now = "members " + ", ".join(sorted(map(shown, ServerSet(client, path))))
    if now != said:
        print(now, flush=True)
        said = now
    time.sleep(0.05)
