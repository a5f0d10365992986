"""N addresses of one server, which the clients' tests drop one by one: what the Rust client `zookeeper` has its own jar for.

The connect string is printed; `k` on standard input drops the connections of one address and `q` ends all. The server is
SERVER_FOR_TESTS, or Apache ZooKeeper of the jars in REAL_CLASSPATH. Each call has a server of its own.
"""

import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time


def forward(source, sink):
    try:
        while data := source.recv(65536):
            sink.sendall(data)
    except OSError:
        pass
    for end in (source, sink):
        try:
            end.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass


class Listener:
    def __init__(self, server):
        self.server, self.pairs = server, []
        self.socket = socket.create_server(("127.0.0.1", 0))
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while True:
            try:
                client, _ = self.socket.accept()
            except OSError:
                return
            try:
                upstream = socket.create_connection(self.server)
            except OSError:
                client.close()
                continue
            self.pairs.append((client, upstream))
            for ends in ((client, upstream), (upstream, client)):
                threading.Thread(target=forward, args=ends, daemon=True).start()

    def stop(self):
        # A thread that waits in accept() keeps the socket open otherwise.
        try:
            self.socket.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
        self.socket.close()
        for pair in self.pairs:
            for end in pair:
                try:
                    end.shutdown(socket.SHUT_RDWR)
                except OSError:
                    pass


def start_real(directory):
    """Apache ZooKeeper on a free port, and its address once it serves."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        address = free.getsockname()
    configuration = os.path.join(directory, "zoo.cfg")
    with open(configuration, "w") as file:
        file.write(f"dataDir={directory}\nclientPort={address[1]}\nclientPortAddress=127.0.0.1\ntickTime=3000\n"
                   "maxClientCnxns=0\nadmin.enableServer=false\nextendedTypesEnabled=true\n")
    program = subprocess.Popen(
        [os.environ["REAL_JAVA"], "-Xmx128m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Dzookeeper.forceSync=no",
         "-cp", os.environ["REAL_CLASSPATH"], "org.apache.zookeeper.server.quorum.QuorumPeerMain", configuration],
        stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    # It takes connections before it takes sessions.
    for _ in range(300):
        try:
            with socket.create_connection(address) as words:
                words.sendall(b"srvr")
                if b"Mode:" in b"".join(iter(lambda: words.recv(4096), b"")):
                    return program, address
        except OSError:
            pass
        time.sleep(0.1)
    program.kill()
    raise SystemExit("Apache ZooKeeper does not serve")


def start_ours():
    program = subprocess.Popen(
        [os.environ["SERVER_FOR_TESTS"], "--listen", "127.0.0.1:0", "--tick", "3s"],
        stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    port = re.search(r"127\.0\.0\.1:(\d+)", program.stderr.readline()).group(1)
    return program, ("127.0.0.1", int(port))


def main():
    directory = tempfile.mkdtemp()
    program, server = start_real(directory) if "REAL_CLASSPATH" in os.environ else start_ours()
    listeners = [Listener(server) for _ in range(int(sys.argv[1]))]
    print(",".join(f"127.0.0.1:{listener.socket.getsockname()[1]}" for listener in listeners), flush=True)
    for line in sys.stdin:
        if line.startswith("q"):
            break
        if line.startswith("k") and listeners:
            listeners.pop(0).stop()
    program.terminate()
    program.wait()
    shutil.rmtree(directory, ignore_errors=True)


main()
