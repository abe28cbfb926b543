"""A server of live.py for the tests in this folder: `with Server("--module", "mod_avatar") as server: Client(server, ...)`."""

import json
import pathlib
import subprocess
import sys
import urllib.request

HERE = pathlib.Path(__file__).resolve().parent


class Server:
    def __init__(self, *arguments):
        self.arguments = [str(a) for a in arguments]

    def __enter__(self):
        self.process = subprocess.Popen([sys.executable, str(HERE / "live.py"), *self.arguments], stdout=subprocess.PIPE, text=True)
        line = self.process.stdout.readline()
        if not line:
            raise AssertionError(f"the server did not start ({self.process.wait()})")
        self.about = json.loads(line)
        return self

    def __getitem__(self, name):
        return self.about[name]

    def log(self):
        return pathlib.Path(self.about["log"]).read_text(errors="replace")

    def api(self, command, /, **arguments):
        """Runs a command of ejabberd."""
        request = urllib.request.Request(f"http://{self['address']}:{self['http']}/api/{command}", json.dumps(arguments).encode(),
                                         {"Content-Type": "application/json"})
        with urllib.request.urlopen(request, timeout=60) as answer:
            return json.loads(answer.read())

    def __exit__(self, *_):
        self.process.terminate()
        self.status = self.process.wait(40)
