%%% @doc For tests: evaluates an expression in the server. Never part of a distribution.
-module(pam_pps_probe).
-behaviour(gen_mod).

-export([start/2, stop/1, depends/2, mod_options/1, mod_doc/0, eval/1, engines/1, released/0, modules/0, churn/2,
	 elements/1, addresses/0, muc_filter_message/3,
	 pubsub_publish_item/6, record/0, record_item/6, recorded/0, filter_packet/1]).

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
	      ok = pam_pps_nif:submit(Engine, stanza, Xml, <<>>, false, Dead, {some, tag, N}, context),
	      ok = pam_pps_nif:submit(Engine, stanza, Xml, <<>>, false, self(), N, <<>>)
      end, lists:seq(1, 200)),
    %% Half of the outcomes are taken, and their inputs, which wait for facts, are given up.
    receive {pam_pps, [Outcome | _]} -> pam_pps_nif:decisions(Outcome) end,
    ok.

%% What can be read of an outcome, and no more when it was given back.
released() ->
    {ok, Engine} = pam_pps_nif:open([{<<"database">>, <<"memory">>}]),
    Xml = <<"<iq type='get' id='1' from='romeo@test/x' to='pubsub.test'><pubsub xmlns='http://jabber.org/protocol/pubsub'><items node='n'/></pubsub></iq>">>,
    ok = pam_pps_nif:serve(Engine, <<"pubsub.test">>, component, []),
    ok = pam_pps_nif:submit(Engine, stanza, Xml, <<>>, false, self(), {a, <<"tag">>}, [<<"context">>]),
    receive {pam_pps, [Outcome]} -> ok end,
    Read = fun() -> {catch pam_pps_nif:tag(Outcome), catch pam_pps_nif:context(Outcome), length(pam_pps_nif:decisions(Outcome)) > 0} end,
    {{a, <<"tag">>}, [<<"context">>], true} = Read(),
    ok = pam_pps_nif:release_context(Outcome),
    {{'EXIT', {badarg, _}}, {'EXIT', {badarg, _}}, true} = Read(),
    ok = pam_pps_nif:release(Outcome),
    {{'EXIT', {badarg, _}}, {'EXIT', {badarg, _}}, false} = Read(),
    {'EXIT', {badarg, _}} = (catch pam_pps_nif:resubmit(Outcome, [], self(), tag)),
    ok = pam_pps_nif:release(Outcome),
    pam_pps_nif:close(Engine).

modules() ->
    Folder = filename:dirname(code:which(pam_pps)),
    [Module || {Module, File} <- code:all_loaded(), is_list(File), filename:dirname(File) == Folder].

%% Loads modules anew, so many times, and purges what is old by then.
churn(Modules, Times) ->
    lists:foreach(
      fun(_) ->
	      lists:foreach(fun(Module) -> code:purge(Module), {module, Module} = code:load_file(Module) end, Modules),
	      timer:sleep(3)
      end, lists:seq(1, Times)).

%% What the native functions make of XML, and back, is what the server's own library makes of it.
elements(Count) ->
    Texts = [<<"<a/>">>, <<" <a  b = '1'\tc=\"2'\" />\n">>, <<"<p:a xmlns:p='u' p:b='c' xml:lang='en'><p:d></p:d ></p:a>">>,
	     <<"<a b='&lt;&gt;&amp;&apos;&quot;&#9;&#xA;&#x1F600;'>&lt;&#233;&#x10FFFF; ]] &gt;</a>">>,
	     <<"<a b='x\ty\nz'>x\r\ny\rz<![CDATA[<&]]]>u<b/>v<![CDATA[]]></a>">>, <<"<a>", (binary:copy(<<"x">>, 70000))/binary, "</a>">>,
	     iolist_to_binary([[<<"<a>">> || _ <- lists:seq(1, 60)], [<<"</a>">> || _ <- lists:seq(1, 60)]])],
    Different = [Text || Text <- Texts, pam_pps_nif:element(Text) /= fxml_stream:parse_element(Text)],
    Accepted = [Text || Text <- [<<>>, <<"x">>, <<"<a>">>, <<"<a">>, <<"<a></b>">>, <<"<a b/>">>, <<"<a b=c/>">>, <<"<a b='c/>">>,
			       <<"<a/>x">>, <<"<a/><b/>">>, <<"<a>&x;</a>">>, <<"<a>&#0;</a>">>, <<"<a>&#x110000;</a>">>, <<"<a><![CDATA[</a>">>],
		      pam_pps_nif:element(Text) /= error],
    {ok, Engine} = pam_pps_nif:open([{<<"database">>, <<"memory">>}]),
    ok = pam_pps_nif:serve(Engine, <<"pubsub.test">>, component, [{<<"create_nodes">>, <<"anyone">>}]),
    _ = request(Engine, <<"set">>, {xmlel, <<"create">>, [{<<"node">>, <<"n">>}], []}),
    Changed = [El || El <- [element(3) || _ <- lists:seq(1, Count)], not is_the_same_after(Engine, El)],
    Taken = [El || El <- [{xmlel, <<"a">>, [{<<"b">>, c}], []}, {xmlel, <<"a">>, [], [b]}, {xmlel, <<"a">>, [], [{b, <<>>}]}, {a, <<>>, [], []},
			  {xmlel, <<"a">>, [], [{xmlel, <<"b">>, []}]}, {xmlel, <<"a">>, b, []}, {xmlel, <<"a">>, [], {b}}],
		   pam_pps_nif:handle(Engine, stanza, El) /= {error, invalid_argument}],
    ok = pam_pps_nif:close(Engine),
    {Different, Accepted, Changed, Taken}.

%% Published and asked for.
is_the_same_after(Engine, El) ->
    Item = {xmlel, <<"item">>, [{<<"id">>, <<"1">>}], [El]},
    _ = request(Engine, <<"set">>, {xmlel, <<"publish">>, [{<<"node">>, <<"n">>}], [Item]}),
    Answer = request(Engine, <<"get">>, {xmlel, <<"items">>, [{<<"node">>, <<"n">>}], []}),
    {xmlel, <<"item">>, _, [Payload]} = fxml:get_path_s(Answer, [{elem, <<"pubsub">>}, {elem, <<"items">>}, {elem, <<"item">>}]),
    Payload == fxml_stream:parse_element(fxml:element_to_binary(El)).

request(Engine, Type, El) ->
    Pubsub = {xmlel, <<"pubsub">>, [{<<"xmlns">>, <<"http://jabber.org/protocol/pubsub">>}], [El]},
    {ok, Outcome} = pam_pps_nif:handle(Engine, stanza, {xmlel, <<"iq">>, [{<<"type">>, Type}, {<<"id">>, <<"1">>}, {<<"from">>, <<"a@b/c">>},
									 {<<"to">>, <<"pubsub.test">>}], [Pubsub]}),
    [Answer] = [Stanza || {route, Stanza} <- pam_pps_nif:decisions(Outcome)],
    Answer.

element(Depth) ->
    Attributes = [{<<"a", ($0 + N)>>, characters()} || N <- lists:seq(1, rand:uniform(4) - 1)],
    {xmlel, pick([<<"entry">>, <<"x">>, <<"long-name.with_all">>]), [{<<"xmlns">>, pick([<<"urn:x:1">>, <<"urn:&:'2'">>])} | Attributes], children(Depth)}.

children(0) -> [];
children(Depth) ->
    [case rand:uniform(2) of
	 1 -> {xmlcdata, characters()};
	 2 -> element(Depth - 1)
     end || _ <- lists:seq(1, rand:uniform(5) - 1)].

characters() ->
    Some = [<<"a">>, <<" ">>, <<"<">>, <<">">>, <<"&">>, <<"'">>, <<"\"">>, <<"]]>">>, <<"é"/utf8>>, <<16#1F600/utf8>>, <<"&amp;">>, binary:copy(<<"b">>, 80)],
    iolist_to_binary([pick(Some) || _ <- lists:seq(1, rand:uniform(9))]).

pick(List) -> lists:nth(rand:uniform(length(List)), List).

%% Addresses are what the server makes of them.
addresses() ->
    Texts = [<<"a">>, <<"a.b-c.example">>, <<"a@b">>, <<"a.b_c-1@b.c/d e/@f">>, <<"a@b/é"/utf8>>, <<"A@b">>, <<"a@B.c/D">>, <<"é@b"/utf8>>, <<"a@b/ ">>,
	     <<"a@b/~!&<>'">>, <<"a\\20b@c/d">>, <<"a@[::1]">>, <<"a@127.0.0.1">>, <<"a@b.">>, <<"a@.b">>, <<"a@b..c">>, <<>>, <<"@b">>, <<"a@">>, <<"a@b/">>,
	     <<"/a">>, <<"a@b@c">>, <<"a b@c">>, <<"a/b@c">>, <<(binary:copy(<<"a">>, 1023))/binary, "@b">>, <<(binary:copy(<<"a">>, 1024))/binary, "@b">>,
	     <<"a@b/", (binary:copy(<<"c">>, 1024))/binary>>],
    Try = fun(F, Text) -> try F(Text) catch error:{bad_jid, _} -> bad end end,
    [Text || Text <- Texts, Try(fun pam_pps_jid:decode/1, Text) /= Try(fun jid:decode/1, Text)].

%% In the process of a room: what it publishes on "cry" is heard by everybody.
muc_filter_message(Message, _State, _Nick) ->
    case fxml:get_path_s(xmpp:encode(Message), [{elem, <<"body">>}, cdata]) of
	<<"cry">> ->
	    Said = {xmlel, <<"said">>, [{<<"xmlns">>, <<"urn:cry">>}], []},
	    {ok, _} = mod_pam_pps:publish_in_room(jid:remove_resource(xmpp:get_to(Message)), <<"urn:cry">>, Said, <<"cried">>);
	_ -> ok
    end,
    Message.

%% What modules are told of, in that order.
record() ->
    ?MODULE = ets:new(?MODULE, [named_table, public, ordered_set, {heir, whereis(ejabberd_sup), none}]),
    ejabberd_hooks:add(pubsub_publish_item, <<"localhost">>, ?MODULE, record_item, 50).

record_item(_Host, _Node, _From, _Service, Id, _Payload) ->
    ets:insert(?MODULE, {erlang:unique_integer([monotonic]), Id}).

recorded() -> [binary_to_integer(Id) || {_, Id} <- ets:tab2list(?MODULE)].

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
