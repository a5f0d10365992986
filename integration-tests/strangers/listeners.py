"""N addresses of one server, which the clients' tests drop one by one: what the Rust client `zookeeper` has its own jar for.

The connect string is printed; `k` on standard input drops the connections of one address and `q` ends all. The server is
SERVER_FOR_TESTS, or the one that is already at ZK_TEST.
"""

import os
import re
import socket
import subprocess
import sys
import threading


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


def main():
    program = None
    if "ZK_TEST" in os.environ:
        host, port = os.environ["ZK_TEST"].rsplit(":", 1)
        server = (host, int(port))
    else:
        program = subprocess.Popen(
            [os.environ["SERVER_FOR_TESTS"], "--listen", "127.0.0.1:0", "--tick", "3s"],
            stderr=subprocess.PIPE, text=True)
        port = re.search(r"127\.0\.0\.1:(\d+)", program.stderr.readline()).group(1)
        server = ("127.0.0.1", int(port))
    listeners = [Listener(server) for _ in range(int(sys.argv[1]))]
    print(",".join(f"127.0.0.1:{listener.socket.getsockname()[1]}" for listener in listeners), flush=True)
    for line in sys.stdin:
        if line.startswith("q"):
            break
        if line.startswith("k") and listeners:
            listeners.pop(0).stop()
    if program:
        program.terminate()


main()
