"""What systemd does for a service, for tests: has its sockets, starts it, and hears what it says of itself.

Commands come on stdin, one a line: "start WORD…" starts the program that the arguments name, with these words behind them, and
"wedge PID" stops one thread of a process, the one that computes. What happens goes to stdout as lines of JSON.

$SERVICE_ENVIRONMENT is an object of further variables for services.

usage: service_manager.py WATCHDOG_SECONDS SOCKETS PROGRAM…      SOCKETS: "tcp", "unix:/path" or both with a comma between; or "none"
"""

import ctypes
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time

lock = threading.Lock()
children = []


def tell(**what):
    with lock:
        print(json.dumps(what), flush=True)


def listening(kind):
    if kind == "tcp":
        made = socket.socket()
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        made.bind(("127.0.0.1", 0))
    else:
        made = socket.socket(socket.AF_UNIX)
        made.bind(kind.removeprefix("unix:"))
    made.listen(128)
    return made


def hear(notified):
    while True:
        text = notified.recv(65536).decode()
        tell(notified=text)


def start(program, words, sockets, environment):
    def prepare():
        # Above the descriptors that they go to.
        copies = [os.dup2(made.fileno(), 100 + index) for index, made in enumerate(sockets)]
        for index, copy in enumerate(copies):
            os.dup2(copy, 3 + index, inheritable=True)
            os.close(copy)

    if sockets:
        environment = {**environment, "LISTEN_FDS": str(len(sockets))}
        # Only the shell knows its own process, which becomes the program's.
        program = ["/bin/sh", "-c", 'LISTEN_PID=$$ exec "$0" "$@"', *program]
    passed = range(3, 3 + len(sockets))
    child = subprocess.Popen(
        [*program, *words],
        env=environment,
        preexec_fn=prepare,
        pass_fds=passed,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )
    children.append(child)
    tell(started=child.pid)

    def follow():
        for line in child.stderr:
            tell(log=line.decode().rstrip("\n"))
        tell(ended=child.wait(), pid=child.pid)

    threading.Thread(target=follow, daemon=True).start()


def wedge(process):
    """Stops the thread that uses the most processor time, by attaching to it as a debugger does, until this process ends."""

    def used(thread):
        fields = open(f"/proc/{process}/task/{thread}/stat").read().rsplit(")", 1)[1].split()
        return int(fields[11]) + int(fields[12])

    threads = [thread for thread in os.listdir(f"/proc/{process}/task") if int(thread) != process]
    before = {thread: used(thread) for thread in threads}
    time.sleep(0.3)
    busiest = max(threads, key=lambda thread: used(thread) - before[thread])
    attach = 16
    result = ctypes.CDLL(None, use_errno=True).ptrace(attach, int(busiest), None, None)
    tell(wedged=int(busiest) if result == 0 else -ctypes.get_errno())


# A Ctrl-C is for the test, which ends the services and this.
signal.signal(signal.SIGINT, signal.SIG_IGN)
watchdog, kinds, *program = sys.argv[1:]
sockets = [listening(kind) for kind in kinds.split(",") if kind != "none"]
notified = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
notified.bind("")  # the system chooses a name in the abstract namespace
address = "@" + notified.getsockname()[1:].decode()
more = json.loads(os.environ.get("SERVICE_ENVIRONMENT", "{}"))
environment = {"PATH": os.environ["PATH"], "NOTIFY_SOCKET": address, **more}
if float(watchdog) > 0:
    environment["WATCHDOG_USEC"] = str(int(float(watchdog) * 1e6))
threading.Thread(target=hear, args=(notified,), daemon=True).start()
tell(port=next((made.getsockname()[1] for made in sockets if made.family == socket.AF_INET), 0))
for line in sys.stdin:
    command, *words = line.split()
    if command == "start":
        start(program, words, sockets, environment)
    elif command == "wedge":
        wedge(int(words[0]))
for child in children:
    child.kill()
