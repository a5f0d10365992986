"""kazoo as a peer of the tests, for the format `plain`. It runs until it is killed.

register CONNECT PATH    creates an ephemeral node with its parents, says "registered"
watch    CONNECT PATH    says the sorted children after each change: "children a,b"
"""

import sys
import time

from kazoo.client import KazooClient

what, connect, path = sys.argv[1:]
client = KazooClient(hosts=connect, timeout=4.0)
client.start(timeout=20)
if what == "register":
    client.create(path, ephemeral=True, makepath=True)
    print("registered", flush=True)
else:
    client.ensure_path(path)
    client.ChildrenWatch(path, lambda names: print("children", ",".join(sorted(names)), flush=True))
while True:
    time.sleep(60)
