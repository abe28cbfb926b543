#!/usr/bin/env python3
"""What the module owes to the server that loads it: installation, options, reload, restart in the same VM, new code, shutdown.

    host.py [live.py options, for instance --dist DIR]

One line per check; exit status 0 if all hold. In the environment: ONLY, a part of the name of those to run.
"""

import base64
import hashlib
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
import threading
import time
import traceback
import urllib.error

HERE = pathlib.Path(__file__).resolve().parent
PROJECT = HERE.parent.parent
sys.path.append(str(HERE.parent / "prosody"))

from client import CLIENT, Client, component, ET, receive  # noqa: E402
from live import free_ports  # noqa: E402
from server import Server, compiled  # noqa: E402

PUBSUB = "http://jabber.org/protocol/pubsub"
DISCO = "http://jabber.org/protocol/disco#info"
NICK = "http://jabber.org/protocol/nick"
CHECKS = []
ONLY = os.environ.get("ONLY", "")


def check(function):
    CHECKS.append(function)
    return function


def good(answer):
    assert answer.get("type") == "result", ET.tostring(answer).decode()
    return answer


def publish(node, item, body="x"):
    return (f"<pubsub xmlns='{PUBSUB}'><publish node='{node}'><item id='{item}'><note xmlns='urn:example:note'>{body}</note></item>"
            "</publish></pubsub>")


def create(client, server):
    """The node `n` of the service, where everybody publishes, and nobody is told of what has to go."""
    form = (f"<x xmlns='jabber:x:data' type='submit'><field var='FORM_TYPE'><value>{PUBSUB}#node_config</value></field>"
            "<field var='pubsub#publish_model'><value>open</value></field>"
            "<field var='pubsub#notify_retract'><value>0</value></field></x>")
    good(client.iq("set", f"<pubsub xmlns='{PUBSUB}'><create node='n'/><configure>{form}</configure></pubsub>", server["pubsub"]))


def items(node):
    return f"<pubsub xmlns='{PUBSUB}'><items node='{node}'/></pubsub>"


def ids(answer):
    return [item.get("id") for item in answer.iter("{%s}item" % PUBSUB)]


def evaluate(server, expression):
    answer = server.api("pam_pps_eval", text=expression)
    return answer["res"] if isinstance(answer, dict) else answer


def threads(server):
    count = 0
    for thread in pathlib.Path(f"/proc/{server['pid']}/task").iterdir():
        try:
            count += (thread / "comm").read_text().startswith("pam_pps")
        except FileNotFoundError:
            pass
    return count


def memory(server):
    status = pathlib.Path(f"/proc/{server['pid']}/status").read_text()
    return int(status.split("VmRSS:")[1].split()[0])


def until(question, seconds=10):
    deadline = time.monotonic() + seconds
    while not question():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True


def interested(server, jid, resource):
    """A session that wants nicknames, whose capabilities are asked for and known afterwards."""
    client = Client(server, jid, resource=resource)
    ver = base64.b64encode(hashlib.sha1(f"client/pc//<{NICK}+notify<".encode()).digest()).decode()
    client.send(f"<presence><c xmlns='http://jabber.org/protocol/caps' hash='sha-1' node='urn:test' ver='{ver}'/></presence>")
    query = client.receive(lambda e: e.find("{%s}query" % DISCO) is not None and e.get("type") == "get")
    assert query is not None, "nobody asked for capabilities"
    client.send(f"<iq type='result' id='{query.get('id')}' to='{query.get('from')}'><query xmlns='{DISCO}' "
                f"node='{query.find('{%s}query' % DISCO).get('node')}'><identity category='client' type='pc'/>"
                f"<feature var='{NICK}+notify'/></query></iq>")
    client.iq("get", "<ping xmlns='urn:xmpp:ping'/>", "localhost")
    return client


def is_told(client, text):
    return client.message(lambda m: text in ET.tostring(m).decode()) is not None


def probe(folder):
    """The module that evaluates expressions, compiled."""
    return ["--path", compiled("pam_pps_probe", folder), "--module", "pam_pps_probe"]


@check
def ejabberdctl_installs_it_as_the_servers_own_user(folder, arguments):
    """From sources, where the server keeps contributed modules, as the README says."""
    dist = pathlib.Path(arguments[arguments.index("--dist") + 1]) if "--dist" in arguments else PROJECT / "dist" / "ejabberd"
    contrib = folder / "contrib"
    sources = contrib / "sources" / "mod_pam_pps"
    shutil.copytree(dist / "mod_pam_pps", sources)
    shutil.rmtree(sources / "ebin")
    (sources / "priv" / "lib" / "pam_pps_nif.so").unlink()
    (folder / "logs").mkdir()
    (folder / "inetrc").touch()
    c2s, port = free_ports("127.0.0.1", 2)
    (folder / "ejabberd.yml").write_text(json.dumps({
        "hosts": ["localhost"], "listen": [{"port": c2s, "ip": "127.0.0.1", "module": "ejabberd_c2s"}],
        "modules": {"mod_roster": {}, "mod_disco": {}}}))
    # Without epmd, which would stay.
    (folder / "ejabberdctl.cfg").write_text(
        f"ERLANG_NODE=pam_pps_{os.getpid()}@localhost\nERL_DIST_PORT={port}\nINET_DIST_INTERFACE=127.0.0.1\n"
        f"CONTRIB_MODULES_PATH={contrib}\nERL_OPTIONS='-setcookie pam_pps'\n")
    folder.chmod(0o755)
    subprocess.run(["chown", "-R", "ejabberd:", folder], check=True)
    control = ["/usr/sbin/ejabberdctl", "--config-dir", folder, "--logs", folder / "logs", "--spool", folder / "spool"]

    def say(*words, check=True):
        return subprocess.run([*control, *words], check=check, cwd="/", stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=60)
    with (folder / "console.log").open("w") as console:
        process = subprocess.Popen([*control, "foreground"], cwd="/", stdin=subprocess.DEVNULL, stdout=console, stderr=console)
    try:
        assert until(lambda: say("status", check=False).returncode == 0, 40), (folder / "console.log").read_text()
        say("register", "juliet", "localhost", "secret")
        answer = say("module_install", "mod_pam_pps").stdout
        nif = contrib / "mod_pam_pps" / "priv" / "lib" / "pam_pps_nif.so"
        assert nif.exists() and nif.owner() == "ejabberd", (nif.exists(), nif.owner(), answer)
        juliet = Client({"address": "127.0.0.1", "c2s": c2s}, "juliet@localhost")
        good(juliet.iq("set", publish("urn:x:node", "1")))
        good(juliet.iq("get", f"<query xmlns='{DISCO}'/>", "pubsub.localhost"))
        assert "urn:x:node" in say("pam_pps_list_nodes", "juliet@localhost").stdout
        say("module_uninstall", "mod_pam_pps")
        assert not nif.exists() and juliet.iq("set", publish("urn:x:node", "2")).get("type") == "error"
    finally:
        say("stop", check=False)
        assert process.wait(30) == 0


@check
def a_wrong_option_is_named(folder, arguments):
    live = [sys.executable, str(HERE / "live.py"), *map(str, arguments)]
    for options, word in ((["--set", "max_nods=1"], "max_nods"), (["--set", "commit=\"sometimes\""], "commit"),
                          (["--set", "database=\"/nowhere/at/all.sqlite\""], "/nowhere"),
                          (["--set", "force_node_config={\"x\": {\"acces_model\": \"open\"}}"], "acces_model")):
        run = subprocess.run([*live, *options], capture_output=True, text=True, timeout=60)
        assert run.returncode == 1 and word in run.stderr, (options, run.returncode, run.stderr[-2000:])


@check
def changed_options_lose_nothing(folder, arguments):
    with Server("--contacts", "romeo@localhost,juliet@localhost", *probe(folder), *arguments) as server:
        romeo, juliet = interested(server, "romeo@localhost", "reload"), Client(server, "juliet@localhost")
        juliet.send("<presence/>")
        juliet.iq("get", "<ping xmlns='urn:xmpp:ping'/>", "localhost")
        config = json.loads(pathlib.Path(server["config"]).read_text())
        module = config["modules"]["mod_pam_pps"]
        module["max_nodes"] = 2
        module["services"]["second.localhost"] = {"name": "Second", "create_nodes": "anyone"}
        pathlib.Path(server["config"]).write_text(json.dumps(config))
        server.api("reload_config")
        # A new service is there, the old one and what it knows of sessions too, and new limits hold.
        answer = good(juliet.iq("get", f"<query xmlns='{DISCO}'/>", "second.localhost"))
        assert answer.find(".//{%s}identity" % DISCO).get("name") == "Second"
        good(juliet.iq("set", publish(NICK, "current", "after the reload")))
        assert is_told(romeo, "after the reload")
        good(juliet.iq("set", publish("urn:x:1", "1")))
        refused = juliet.iq("set", publish("urn:x:2", "1"))
        assert refused.get("type") == "error", ET.tostring(refused).decode()
        # What is forced holds for what is there already, and for nobody else's wishes.
        strange = Client(server, "mercutio@localhost")
        assert strange.iq("get", items(NICK), "juliet@localhost").get("type") == "error"
        module["force_node_config"] = {"http://jabber.org/protocol/ni??": {"access_model": "open", "notify_sub": True}}
        module["services"]["second.localhost"]["default_node_config"] = {
            "max_items": 3, "urn:x:*": {"roster_groups_allowed": ["Friends", "Family"], "title": "Good  friends"}}
        pathlib.Path(server["config"]).write_text(json.dumps(config))
        server.api("reload_config")
        good(strange.iq("get", items(NICK), "juliet@localhost"))
        good(juliet.iq("set", f"<pubsub xmlns='{PUBSUB}'><create node='urn:x:new'/></pubsub>", "second.localhost"))
        shown = good(juliet.iq("get", f"<pubsub xmlns='{PUBSUB}#owner'><configure node='urn:x:new'/></pubsub>", "second.localhost"))
        fields = {f.get("var"): [v.text for v in f.findall("{jabber:x:data}value")] for f in shown.iter("{jabber:x:data}field")}
        assert fields["pubsub#max_items"] == ["3"] and fields["pubsub#title"] == ["Good friends"], fields
        assert fields["pubsub#roster_groups_allowed"] == ["Family", "Friends"], fields
        # And gone again.
        del module["services"]["second.localhost"]
        pathlib.Path(server["config"]).write_text(json.dumps(config))
        server.api("reload_config")
        gone = juliet.iq("get", f"<query xmlns='{DISCO}'/>", "second.localhost", timeout=20)
        assert gone.get("type") == "error", ET.tostring(gone).decode()


@check
def elements_and_addresses_are_those_of_the_server(folder, arguments):
    with Server(*probe(folder), *arguments) as server:
        assert evaluate(server, "pam_pps_probe:elements(500)") == "{[],[],[],[]}", evaluate(server, "pam_pps_probe:elements(5)")
        assert evaluate(server, "pam_pps_probe:addresses()") == "[]", evaluate(server, "pam_pps_probe:addresses()")


@check
def stopped_and_started_it_knows_who_is_there(folder, arguments):
    with Server("--contacts", "romeo@localhost,juliet@localhost", *probe(folder), *arguments) as server:
        romeo, juliet = interested(server, "romeo@localhost", "stopped"), Client(server, "juliet@localhost")
        juliet.send("<presence/>")
        good(juliet.iq("set", publish("urn:x:kept", "1")))
        for _ in range(3):
            evaluate(server, "gen_mod:stop_module(<<\"localhost\">>, mod_pam_pps)")
            assert threads(server) == 0, "a thread of the engine is left"
            refused = juliet.iq("get", items("urn:x:kept"))
            assert refused.get("type") == "error", ET.tostring(refused).decode()
            evaluate(server, "gen_mod:start_module(<<\"localhost\">>, mod_pam_pps)")
            assert ids(good(juliet.iq("get", items("urn:x:kept")))) == ["1"]
        time.sleep(0.5)
        good(juliet.iq("set", publish(NICK, "current", "after the start")))
        assert is_told(romeo, "after the start"), "presence from before the start is not known"


@check
def restarted_in_the_same_vm(folder, arguments):
    data = folder / "restarts"
    with Server("--data", data, *probe(folder), *arguments) as server:
        juliet = Client(server, "juliet@localhost")
        good(juliet.iq("set", publish("urn:x:kept", "1")))
        # What does it must not be stopped with the server, as everything is that has its group leader.
        again = ("spawn(fun() -> group_leader(whereis(init), self()), lists:foreach(fun(_) -> ok = application:stop(ejabberd), {ok, _} = ejabberd:start() end, "
                 "lists:seq(1, 5)), persistent_term:put(restarted, true) end)")
        try:
            evaluate(server, again)
        except OSError:
            pass

        def done():
            try:
                return evaluate(server, "persistent_term:get(restarted, false)") == "true"
            except OSError:
                return False
        assert until(done, 60), "ejabberd did not start again"
        juliet = Client(server, "juliet@localhost")
        assert ids(good(juliet.iq("get", items("urn:x:kept")))) == ["1"]
        alone = threads(server)
        assert alone <= 4, f"{alone} threads of engines"
    assert server.status == 0, server.status


@check
def new_code_under_load_loses_no_answer(folder, arguments):
    with Server(*probe(folder), *arguments) as server:
        juliet = Client(server, "juliet@localhost")
        stop = threading.Event()
        failures = []

        def load(name):
            try:
                client = Client(server, f"{name}@localhost")
                number = 0
                while not stop.is_set():
                    number += 1
                    good(client.iq("set", publish("urn:x:load", str(number % 10))))
                counts.append(number)
            except Exception as why:
                failures.append(f"{name}: {why}")
        counts = []
        workers = [threading.Thread(target=load, args=(name,)) for name in ("romeo", "mercutio", "benvolio")]
        for worker in workers:
            worker.start()
        modules = evaluate(server, "pam_pps_probe:modules()")
        assert "pam_pps_nif" in modules and "mod_pam_pps" in modules, modules
        # All together, and the one that has resources alone: its types are taken over while outcomes are made.
        for what, times in ((modules, 50), ("[pam_pps_nif]", 1000), (modules, 50)):
            assert evaluate(server, f"pam_pps_probe:churn({what}, {times})") == "ok"
        stop.set()
        for worker in workers:
            worker.join()
        assert not failures, failures
        assert min(counts) > 10, counts
        good(juliet.iq("set", publish("urn:x:kept", "1")))
        # No process was killed by a purge: the workers are those that were there.
        assert evaluate(server, "length(pam_pps_worker:names()) == length([W || W <- pam_pps_worker:names(), is_pid(whereis(W))])") == "true"


@check
def code_of_another_version_asks_for_a_restart(folder, arguments):
    """The native code of a path stays in the VM: newer code that it does not fit is not used, and says what to do."""
    with Server(*probe(folder), *arguments) as server:
        juliet = Client(server, "juliet@localhost")
        good(juliet.iq("set", publish("urn:x:kept", "1")))
        own = pathlib.Path(evaluate(server, "filename:dirname(filename:dirname(code:which(pam_pps_nif)))").strip('"'))
        source = (own / "src" / "pam_pps_nif.erl").read_text()
        assert "-define(INTERFACE, " in source and "-on_load(load/0)." in source

        def load(name, text):
            """Loads the module with that text, from a folder with the same native code."""
            ebin = folder / name / "ebin"
            ebin.mkdir(parents=True)
            (folder / name / "priv").symlink_to(own / "priv")
            (ebin / "pam_pps_nif.erl").write_text(text)
            headers = '[{i, filename:join(filename:dirname(filename:dirname(code:which(M))), "include")} || M <- [xmpp, fxml, p1_rand]]'
            return evaluate(server, f'begin {{ok, _}} = compile:file("{ebin}/pam_pps_nif.erl", [{{outdir, "{ebin}"}} | {headers}]), '
                                    f'code:purge(pam_pps_nif), code:load_abs("{ebin}/pam_pps_nif") end')
        newer = source.replace("-define(INTERFACE, ", "-define(INTERFACE, 1 + ")
        assert load("newer", newer) == "{error,on_load_failure}"
        assert until(lambda: "restart_ejabberd" in server.log()), server.log()[-2000:]
        good(juliet.iq("set", publish("urn:x:kept", "2")))
        # The rest of the module is of another version than this one.
        start, stop = (f'gen_mod:{what}_module(<<"localhost">>, mod_pam_pps)' for what in ("start", "stop"))
        assert evaluate(server, stop) == "ok"
        other = newer.replace("-on_load(load/0).", "-export([load/0]).").replace("log(_Pid) -> erlang:nif_error(not_loaded)", "log(_Pid) -> ok")
        assert load("other", other) == "{module,pam_pps_nif}"
        assert evaluate(server, f"catch {start}") != "ok"
        assert until(lambda: "has to be restarted" in server.log()), server.log()[-2000:]
        assert evaluate(server, "begin code:purge(pam_pps_nif), code:load_file(pam_pps_nif) end") == "{module,pam_pps_nif}"
        assert evaluate(server, start) == "ok"
        assert ids(good(juliet.iq("get", items("urn:x:kept")))) == ["2"]


@check
def everybody_hears_of_a_service_in_one_order(folder, arguments):
    """Many write at once, each through a process of his own; what they write reaches all in the same order, and each in his."""
    count, writers = 40, [f"writer{n}@localhost" for n in range(6)]
    users = [word for jid in ["romeo@localhost", "juliet@localhost", *writers] for word in ("--user", jid)]
    with Server(*users, *arguments) as server:
        readers = [Client(server, jid) for jid in ("romeo@localhost", "juliet@localhost")]
        create(readers[0], server)
        for reader in readers:
            jid = reader.jid.split("/")[0]
            good(reader.iq("set", f"<pubsub xmlns='{PUBSUB}'><subscribe node='n' jid='{jid}'/></pubsub>", server["pubsub"]))
            reader.send("<presence/>")
            reader.iq("get", "<ping xmlns='urn:xmpp:ping'/>", "localhost")

        def write(client, name):
            for number in range(count):
                client.send(f"<iq type='set' id='{number}' to='{server['pubsub']}'>{publish('n', f'{name}-{number}')}</iq>")
        clients = [Client(server, jid) for jid in writers]
        threads = [threading.Thread(target=write, args=(client, name)) for name, client in enumerate(clients)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

        def heard(reader):
            found = []
            while len(found) < count * len(writers):
                message = reader.message(lambda m: m.find(f".//{{{PUBSUB}#event}}item") is not None)
                assert message is not None, f"{len(found)} of {count * len(writers)}"
                found.append(message.find(f".//{{{PUBSUB}#event}}item").get("id"))
            return found
        first, second = map(heard, readers)
        assert first == second, "two subscribers heard different orders"
        for name in range(len(writers)):
            own = [int(item.split("-")[1]) for item in first if item.split("-")[0] == str(name)]
            assert own == list(range(count)), f"what writer {name} wrote came as {own}"


def crowd(server, count):
    """The stream of a component with that many subscribers to the node `n` of the service."""
    name = "receiver.localhost"
    stream = component(server, name)
    for number in range(count):
        jid = f"s{number}@{name}"
        stream.sendall(f"<iq type='set' id='{number}' from='{jid}' to='{server['pubsub']}'><pubsub xmlns='{PUBSUB}'>"
                       f"<subscribe node='n' jid='{jid}'/></pubsub></iq>".encode())
    data = b""
    while len(re.findall(rb"<iq [^>]*type=.result", data)) < count:
        data += receive(stream)
    evaluate(server, f"{{ok, [R]}} = (ejabberd_router:get_backend()):find_routes(<<\"{name}\">>), persistent_term:put(writer, element(4, R))")
    return stream


def hold_up(server):
    """It handles nothing until `let_go`. For a minute at most."""
    evaluate(server, "P = persistent_term:get(writer), register(holder, spawn(fun() -> erlang:suspend_process(P), "
             "receive go -> ok after 60000 -> ok end end))")
    assert until(lambda: evaluate(server, "process_info(persistent_term:get(writer), status)") == "{status,suspended}")


def let_go(server):
    evaluate(server, "holder ! go")


def queued(server):
    return int(evaluate(server, "element(2, process_info(persistent_term:get(writer), message_queue_len))"))


def told(stream, people, numbers):
    """Whether each of them is told of all those items, in their order."""
    data, found = b"", {}
    stream.settimeout(30)
    while data.count(b"</message>") < people * len(numbers):
        data += receive(stream)
    for message in data.split(b"</message>")[:-1]:
        to, item = re.search(rb"<message[^>]* to='(s\d+)@", message), re.search(rb"<item[^>]* id='(\d+)'", message)
        found.setdefault(to[1], []).append(int(item[1]))
    return len(found) == people and all(items == list(numbers) for items in found.values())


def publish_all(client, server, numbers):
    for number in numbers:
        client.send(f"<iq type='set' id='p{number}' to='{server['pubsub']}'>{publish('n', number)}</iq>")


def answered(client, count, timeout=20):
    """The answers to so many of those, as their numbers; fewer if the next one does not come in time."""
    found = []
    while len(found) < count:
        answer = client.receive(lambda e: e.tag == CLIENT + "iq" and e.get("id", "").startswith("p"), timeout)
        if answer is None:
            break
        found.append(int(good(answer).get("id")[1:]))
    return sorted(found)


def fanning_out(server, people, publications):
    """Who has published so many items for so many recipients, whose process does not write; and what they read from."""
    romeo = Client(server, "romeo@localhost")
    create(romeo, server)
    stream = crowd(server, people)
    hold_up(server)
    publish_all(romeo, server, range(publications))
    assert until(lambda: evaluate(server, "pam_pps_sender:is_behind()") == "true")
    return romeo, stream


@check
def a_fan_out_waits_for_who_writes_it(folder, arguments):
    """What is not written yet does not fill the process that writes; who published waits for it, and nobody else."""
    people, first, publications = 100, 10, 60
    with Server("--user", "romeo@localhost", "--user", "juliet@localhost", "--external", "receiver.localhost=secret", *probe(folder),
                *arguments) as server:
        romeo, stream = fanning_out(server, people, first)
        publish_all(romeo, server, range(first, publications))
        # On this way nothing waits.
        juliet = Client(server, "juliet@localhost")
        good(juliet.iq("set", f"<pubsub xmlns='{PUBSUB}'><create node='other'/></pubsub>", server["pubsub"], timeout=4))
        good(juliet.iq("set", publish("other", "x"), server["pubsub"], timeout=4))
        length, early = queued(server), answered(romeo, publications, timeout=0.2)
        # Twice the stanzas between two questions, and the questions of four workers; of more, what each may send at least.
        workers = int(evaluate(server, "length(pam_pps_worker:names())"))
        assert length <= max(400, 20 * workers) + workers, f"{length} stanzas before the process that writes them"
        assert len(early) <= first, f"{len(early)} were answered"
        let_go(server)
        assert sorted(early + answered(romeo, publications - len(early))) == list(range(publications))
        assert told(stream, people, range(publications))
        assert until(lambda: evaluate(server, "pam_pps_sender:is_behind()") == "false")


@check
def a_fan_out_does_not_wait_for_ever(folder, arguments):
    people, publications = 100, 60
    options = ["--user", "romeo@localhost", "--external", "receiver.localhost=secret", *probe(folder), *arguments]
    with Server(*options) as server:
        romeo, stream = fanning_out(server, people, publications)
        assert answered(romeo, publications) == list(range(publications)), "a while without a word, and who published is answered"
        assert evaluate(server, "pam_pps_sender:is_behind()") == "true" and queued(server) < people * publications
        publish_all(romeo, server, [publications])
        assert answered(romeo, 1, timeout=4) == [publications], "nor does who publishes after that wait"
        publications += 1
        # So many seconds more.
        evaluate(server, "[W ! sweep || _ <- lists:seq(1, 60), W <- pam_pps_worker:names()]")
        assert until(lambda: queued(server) >= people * publications), "after a long while it is sent all the same"
        assert evaluate(server, "pam_pps_sender:is_behind()") == "false"
        let_go(server)
        assert told(stream, people, range(publications))

    with Server(*options) as server:
        romeo, stream = fanning_out(server, people, publications)
        evaluate(server, "exit(persistent_term:get(writer), kill)")
        assert until(lambda: evaluate(server, "pam_pps_sender:is_behind()") == "false", 4), "nobody writes to whoever has gone"
        assert answered(romeo, publications) == list(range(publications))

    with Server(*options) as server:
        romeo, stream = fanning_out(server, people, publications)
        assert evaluate(server, "gen_mod:stop_module(<<\"localhost\">>, mod_pam_pps)") == "ok"
        assert queued(server) >= people * publications, "when the module stops, all of it is sent"
        assert answered(romeo, publications) == list(range(publications))
        let_go(server)
        assert told(stream, people, range(publications))


@check
def with_too_much_to_be_sent_nothing_is_published(folder, arguments):
    with Server("--user", "romeo@localhost", *probe(folder), *arguments) as server:
        romeo = Client(server, "romeo@localhost")
        create(romeo, server)
        evaluate(server, "atomics:put(persistent_term:get(pam_pps_sender), 1, 1000000)")
        assert "waiting_stanzas 1000000" in server.api("pam_pps_statistics")
        answer = romeo.iq("set", publish("n", "1"), server["pubsub"])
        error = answer.find(f"{CLIENT}error")
        assert error.get("type") == "wait" and error.find("{urn:ietf:params:xml:ns:xmpp-stanzas}resource-constraint") is not None
        assert ids(good(romeo.iq("get", items("n"), server["pubsub"]))) == []
        evaluate(server, "atomics:put(persistent_term:get(pam_pps_sender), 1, 0)")
        good(romeo.iq("set", publish("n", "1"), server["pubsub"]))
        assert ids(good(romeo.iq("get", items("n"), server["pubsub"]))) == ["1"]


@check
def a_fan_out_to_another_server_waits_too(folder, arguments):
    people, publications = 100, 60
    here, there = free_ports("127.0.0.1", 2)
    with Server("--user", "romeo@localhost", "--s2s-port", here, "--peer", f"there.example=127.0.0.1:{there}", *probe(folder),
                *arguments) as server, \
            Server("--host", "there.example", "--pubsub", "no", "--user", "juliet@there.example", "--s2s-port", there, "--peer",
                   f"localhost=127.0.0.1:{here}", *arguments) as other:
        romeo, juliet = Client(server, "romeo@localhost"), Client(other, "juliet@there.example", resource="s0")
        juliet.send("<presence/>")
        create(romeo, server)
        for number in range(people):
            jid = f"juliet@there.example/s{number}"
            good(juliet.iq("set", f"<pubsub xmlns='{PUBSUB}'><subscribe node='n' jid='{jid}'/></pubsub>", server["pubsub"]))
        writer = f"[W] = ejabberd_s2s:get_connections_pids({{<<\"{server['pubsub']}\">>, <<\"there.example\">>}})"
        assert until(lambda: evaluate(server, f"{writer}, persistent_term:put(writer, W)") == "ok")
        hold_up(server)
        publish_all(romeo, server, range(publications))
        assert until(lambda: evaluate(server, "pam_pps_sender:is_behind()") == "true")
        assert queued(server) <= 102, queued(server)
        let_go(server)
        assert answered(romeo, publications) == list(range(publications))
        items = []
        while len(items) < publications:
            message = juliet.message(lambda m: m.find(f".//{{{PUBSUB}#event}}item") is not None)
            assert message is not None, items
            items.append(int(message.find(f".//{{{PUBSUB}#event}}item").get("id")))
        assert items == list(range(publications)), items


@check
def modules_hear_of_a_service_in_its_order(folder, arguments):
    """Requests that are committed together, so that what happened comes to the hooks in one message."""
    count = 300
    with Server(*probe(folder), *arguments) as server:
        assert evaluate(server, "pam_pps_probe:record()") == "ok"
        juliet = Client(server, "juliet@localhost")
        good(juliet.iq("set", f"<pubsub xmlns='{PUBSUB}'><create node='ordered'/></pubsub>", "pubsub.localhost"))
        juliet.send("".join(f"<iq type='set' id='o{n}' to='pubsub.localhost'>{publish('ordered', str(n))}</iq>" for n in range(count)))
        assert until(lambda: evaluate(server, "length(pam_pps_probe:recorded())") == str(count)), "not all were told"
        told = json.loads(evaluate(server, "pam_pps_probe:recorded()"))
        assert told == list(range(count)), told


@check
def modules_of_accounts_are_not_told_of_services(folder, arguments):
    """mod_private listens to what is published, but only to what people publish on their own accounts."""
    with Server(*probe(folder), *arguments) as server:
        def is_wanted(service):
            return evaluate(server, f'pam_pps_events:is_wanted(<<"item-published">>, <<"{service}">>)')

        assert evaluate(server, 'gen_mod:is_loaded(<<"localhost">>, mod_private)') == "true"
        wanted = {service: is_wanted(service) for service in ("pubsub.localhost", "juliet@localhost", "nobody.example")}
        assert wanted == {"pubsub.localhost": "false", "juliet@localhost": "true", "nobody.example": "false"}, wanted
        assert evaluate(server, "pam_pps_probe:record()") == "ok"
        assert is_wanted("pubsub.localhost") == "true", "another module listens to everything"


@check
def requests_to_a_service_that_has_just_gone_are_answered(folder, arguments):
    with Server(*probe(folder), *arguments) as server:
        juliet = Client(server, "juliet@localhost")
        assert evaluate(server, 'pam_pps_nif:unserve(persistent_term:get({pam_pps, engine}), <<"pubsub.localhost">>)') == "ok"
        for kind, payload in ("get", items("news")), ("set", publish("news", "2")):
            answer = ET.tostring(juliet.iq(kind, payload, "pubsub.localhost")).decode()
            assert 'type="error"' in answer and "service-unavailable" in answer, answer


@check
def requests_that_are_none_are_answered(folder, arguments):
    """RFC 6120, section 8.2.3: a request has one child, and is answered in any case."""
    one = f"<pubsub xmlns='{PUBSUB}'/>"
    with Server(*arguments) as server:
        juliet = Client(server, "juliet@localhost")
        for payload, condition in ("", "bad-request"), (one + one, "bad-request"), ("<other xmlns='urn:x:other'/>", "service-unavailable"):
            for kind in "get", "set":
                answer = ET.tostring(juliet.iq(kind, payload, "pubsub.localhost")).decode()
                assert 'type="error"' in answer and condition in answer, (kind, payload, answer)


@check
def every_option_is_described(folder, arguments):
    with Server(*probe(folder), *arguments) as server:
        known = "lists:usort([case O of {Name, _} -> Name; Name -> Name end || O <- mod_pam_pps:mod_options(<<\"localhost\">>)])"
        described = "[element(1, Option) || Option <- maps:get(opts, mod_pam_pps:mod_doc())]"
        assert evaluate(server, f"{known} == {described}") == "true", evaluate(server, f"{{{known} -- {described}, {described} -- {known}}}")


@check
def commands_for_administrators(folder, arguments):
    with Server(*arguments) as server:
        juliet, romeo = Client(server, "juliet@localhost"), Client(server, "romeo@localhost")
        romeo.send("<presence/>")
        good(juliet.iq("set", f"<pubsub xmlns='{PUBSUB}'><create node='news'/></pubsub>", server["pubsub"]))
        good(romeo.iq("set", f"<pubsub xmlns='{PUBSUB}'><subscribe node='news' jid='romeo@localhost'/></pubsub>", server["pubsub"]))
        service = server["pubsub"]
        nodes = server.api("pam_pps_list_nodes", service=service)
        assert len(nodes) == 1 and nodes[0].startswith("news\topen\t"), nodes
        assert "romeo@localhost" in server.api("pam_pps_list_subscriptions", service=service, node="news")[0]
        assert "news" in server.api("pam_pps_list_pam", account="romeo@localhost")[0]
        server.api("pam_pps_end_subscription", service=service, node="news", jid="romeo@localhost")
        assert is_told(romeo, 'subscription="none"'), "who lost a subscription was not told"
        assert server.api("pam_pps_list_subscriptions", service=service, node="news") == []
        server.api("pam_pps_delete_node", service=service, node="news")
        assert server.api("pam_pps_list_nodes", service=service) == []
        assert server.api("pam_pps_list_public", account="romeo@localhost") == []
        assert any(line.startswith("commits_total ") for line in server.api("pam_pps_statistics"))
        for command in ("pam_pps_integrity_check", "pam_pps_vacuum"):
            answer = server.api(command)
            assert answer and not answer[0].startswith("error"), answer
        try:
            server.api("pam_pps_list_nodes", service="nobody.example")
            raise AssertionError("a service of nobody was listed")
        except urllib.error.HTTPError as why:
            assert "not served" in why.read().decode()


@check
def what_nobody_waits_for_is_freed(folder, arguments):
    with Server(*probe(folder), *arguments) as server:
        assert evaluate(server, "pam_pps_probe:released()") == "ok"
        evaluate(server, "pam_pps_probe:engines(5)")
        before = threads(server)
        assert until(lambda: threads(server) <= 4), f"{before} threads of forgotten engines"
        start = memory(server)
        for _ in range(5):
            evaluate(server, "pam_pps_probe:engines(10)")
        evaluate(server, "[erlang:garbage_collect(P) || P <- processes()]")
        assert until(lambda: threads(server) <= 4), f"{threads(server)} threads of forgotten engines"
        grown = memory(server) - start
        assert grown < 60_000, f"{grown} KiB more after 50 engines"


@check
def it_ends_with_the_server(folder, arguments):
    with Server("--data", folder / "end", *arguments) as server:
        juliet = Client(server, "juliet@localhost")
        good(juliet.iq("set", publish("urn:x:kept", "1")))
        begin = time.monotonic()
        os.kill(server["pid"], 15)
        assert until(lambda: not pathlib.Path(f"/proc/{server['pid']}").exists(), 15), "ejabberd does not end"
        assert time.monotonic() - begin < 10
    log = (folder / "end" / "ejabberd.log").read_text()
    assert "Engine of libpam_pps closed" in log
    assert "[error]" not in log, [line for line in log.splitlines() if "[error]" in line]


def main(arguments):
    failed = 0
    # The installer is that of the machine, which has one version.
    here = [c for c in CHECKS if "26" not in arguments or c is not ejabberdctl_installs_it_as_the_servers_own_user]
    for function in here:
        name = function.__name__.replace("_", " ")
        if ONLY not in name:
            continue
        with tempfile.TemporaryDirectory(prefix="pam_pps-host-") as folder:
            try:
                function(pathlib.Path(folder), arguments)
                print(f"ok {name}", flush=True)
            except Exception:
                failed += 1
                print(f"FAILED {name}\n{traceback.format_exc()}", flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
