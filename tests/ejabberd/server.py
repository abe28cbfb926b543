"""A server of live.py for the tests in this folder: `with Server("--module", "mod_avatar") as server: Client(server, ...)`."""

import importlib.util
import json
import pathlib
import subprocess
import sys
import urllib.request

HERE = pathlib.Path(__file__).resolve().parent

# Under a name of its own: what uses both servers has another live.py already.
specification = importlib.util.spec_from_file_location("ejabberd_live", HERE / "live.py")
live = importlib.util.module_from_spec(specification)
specification.loader.exec_module(live)
PROJECT, Root, ejabberd_folder = live.PROJECT, live.Root, live.ejabberd_folder


def compiled(module, folder, arguments=()):
    """A module for tests, as beam in that folder, for the version of ejabberd that the arguments name."""
    root = Root([PROJECT, folder]) if "26" in arguments else None
    paths = ["-eval", "[io:format(\"~s \", [filename:dirname(filename:dirname(code:which(M)))]) || M <- [ejabberd, xmpp, fxml, p1_rand]], halt()."]
    ebin = ejabberd_folder(root.path if root else "")

    def run(command):
        command, environment = (root.command(command), root.environment) if root else (command, None)
        return subprocess.run(command, env=environment, check=True, stdout=subprocess.PIPE, text=True).stdout
    includes = [f"-I{path}/include" for path in run(["erl", "-noshell", "-pa", str(ebin), *paths]).split()]
    run(["erlc", *includes, "-pa", str(ebin), "-o", str(folder), str(HERE / f"{module}.erl")])
    return folder


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
