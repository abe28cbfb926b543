%%% @doc For tests: evaluates an expression in the server. Never part of a distribution.
-module(pam_pps_probe).
-behaviour(gen_mod).

-export([start/2, stop/1, depends/2, mod_options/1, mod_doc/0, eval/1, engines/1, churn/1, muc_filter_message/3,
	 pubsub_publish_item/6, filter_packet/1]).

-include("ejabberd_commands.hrl").

start(_Host, _Opts) -> ejabberd_commands:register_commands(?MODULE, specs()).
stop(_Host) -> ejabberd_commands:unregister_commands(specs()).
depends(_Host, _Opts) -> [].
mod_options(_Host) -> [].
mod_doc() -> #{desc => [], opts => []}.

eval(Text) ->
    {ok, Tokens, _} = erl_scan:string(binary_to_list(<<Text/binary, ".">>)),
    {ok, Exprs} = erl_parse:parse_exprs(Tokens),
    {value, Value, _} = erl_eval:exprs(Exprs, []),
    lists:flatten(io_lib:format("~0tp", [Value])).

%% Engines that nobody closes, and whose submissions nobody waits for.
engines(Count) ->
    {Pid, Ref} = spawn_monitor(fun() -> lists:foreach(fun(_) -> forgotten() end, lists:seq(1, Count)) end),
    receive {'DOWN', Ref, process, Pid, Reason} -> Reason end.

forgotten() ->
    {ok, Engine} = pam_pps_nif:open([{<<"database">>, <<"memory">>}]),
    ok = pam_pps_nif:serve(Engine, <<"localhost">>, accounts, []),
    lists:foreach(
      fun(N) ->
	      Xml = ["<iq type='get' id='", integer_to_list(N), "' from='romeo@localhost/x' to='juliet@localhost'>"
		     "<pubsub xmlns='http://jabber.org/protocol/pubsub'><items node='n'/></pubsub></iq>"],
	      Dead = spawn(fun() -> ok end),
	      ok = pam_pps_nif:submit(Engine, stanza, Xml, <<>>, false, Dead, {some, tag, N}),
	      ok = pam_pps_nif:submit(Engine, stanza, Xml, <<>>, false, self(), N)
      end, lists:seq(1, 200)),
    %% Half of the outcomes are taken, and their inputs, which wait for facts, are given up.
    receive {pam_pps, _, Outcome} -> pam_pps_nif:decisions(Outcome) end,
    ok.

%% Loads the code of the module again and again, and purges what is old by then.
churn(Times) ->
    Modules = [pam_pps_nif, pam_pps, pam_pps_worker, pam_pps_events, pam_pps_facts, mod_pam_pps],
    lists:foreach(
      fun(_) ->
	      lists:foreach(fun(Module) -> code:purge(Module), {module, Module} = code:load_file(Module) end, Modules),
	      timer:sleep(20)
      end, lists:seq(1, Times)).

%% In the process of a room: what it publishes on "cry" is heard by everybody.
muc_filter_message(Message, _State, _Nick) ->
    case fxml:get_path_s(xmpp:encode(Message), [{elem, <<"body">>}, cdata]) of
	<<"cry">> ->
	    Said = {xmlel, <<"said">>, [{<<"xmlns">>, <<"urn:cry">>}], []},
	    {ok, _} = mod_pam_pps:publish_in_room(jid:remove_resource(xmpp:get_to(Message)), <<"urn:cry">>, Said, <<"cried">>);
	_ -> ok
    end,
    Message.

%% What was published last.
pubsub_publish_item(_ServerHost, Node, _Publisher, Service, Id, Payload) ->
    persistent_term:put(published, {Node, jid:encode(Service), Id, [Name || {xmlel, Name, _, _} <- Payload]}).

%% Rooms take their time to show somebody to Romeo.
filter_packet(Packet) ->
    _ = [timer:sleep(200) || element(1, Packet) == presence, {<<"romeo">>, <<"localhost">>, _} <- [jid:tolower(xmpp:get_to(Packet))]],
    Packet.

specs() ->
    [#ejabberd_commands{name = pam_pps_eval, tags = [test], module = ?MODULE, function = eval, args = [{text, binary}],
			result = {res, string}}].
