%%% @doc XEP-0316 for the rooms of mod_muc: shows the engine who is in them, gives it the requests that are its own, and lets
%%% other modules publish as a room. Who may do what is decided by the engine; what it passes on is relayed by mod_muc.
%%%
%%% Comings and goings are learned from hooks in the room's own process, in its order. What else has to be known of a room is
%%% asked by an IQ that its process finds among its other stanzas, with the question in the meta data: so nobody waits for a
%%% room that may wait for him, and no state of a room is copied.
-module(pam_pps_rooms).

%% API
-export([domains/1, start/2, stop/1, standing/2, info/1, publish/4, listed/2]).
-export_type([standing/0, info/0]).
%% hooks
-export([filter_packet/1, muc_filter_presence/3, muc_filter_message/3, muc_process_iq/2, join_room/4, leave_room/4, room_destroyed/3,
	 room_destroyed/4, publish_in_room/5]).
%% spawned
-export([publish_now/4]).

-include("logger.hrl").
-include("xmpp.hrl").
-include("mod_muc_room.hrl").

%% What a room may be asked.
-type question() :: everyone | {look, jid()} | changed | {standing | info, jid(), reference()}.
-type standing() :: {pam_pps_nif:affiliation(), Voice :: boolean()}.
-type info() :: {Name :: binary(), Description :: binary(), Subject :: binary()}.

%% In the process of a room: under which nick the engine knows a client, who may be about to join, what the room says of itself,
%% and whether a look at that is on its way.
-define(NICK(Jid), {?MODULE, jid:tolower(Jid)}).
-define(COMING, {?MODULE, coming}).
-define(INFO, {?MODULE, info}).
-define(CHANGING, {?MODULE, changing}).
%% How long a room may take to answer, in milliseconds.
-define(PATIENCE, 5000).

%%%===================================================================
%%% API
%%%===================================================================

%% @doc The chat services of a virtual host.
-spec domains(binary()) -> [binary()].
domains(Host) ->
    case gen_mod:is_loaded(Host, mod_muc) of
	true -> gen_mod:get_module_opt_hosts(Host, mod_muc);
	false ->
	    ?WARNING_MSG("mod_pam_pps has rooms: true for ~ts, but mod_muc is not loaded there", [Host]),
	    []
    end.

%% @doc Begins to tell the engine of the rooms of a chat service, with who is there already.
-spec start(binary(), binary()) -> ok.
start(Domain, Host) ->
    hook(fun ejabberd_hooks:add/5, Host),
    ejabberd_hooks:add(filter_packet, global, ?MODULE, filter_packet, 20),
    lists:foreach(fun(Room) -> ask(Room, everyone) end,
		  [Room || {_, _, Room} <- rooms_of(Domain), node(Room) == node()]).

-spec stop(binary()) -> ok.
stop(Domain) ->
    {rooms, Host} = pam_pps:domain(Domain),
    Others = [{Server, Other} || Server <- ejabberd_option:hosts(), {Other, rooms} <- pam_pps:domains(Server), Other /= Domain],
    _ = [hook(fun ejabberd_hooks:delete/5, Host) || not lists:keymember(Host, 1, Others)],
    _ = [ejabberd_hooks:delete(filter_packet, global, ?MODULE, filter_packet, 20) || Others == []],
    ok.

%% @doc How somebody stands to a room. Not to be called in the room's process.
-spec standing(jid(), jid()) -> standing().
standing(Who, Room) ->
    call(standing, Who, Room, {none, false}).

%% @doc What a room says of itself. Not to be called in the room's process.
-spec info(jid()) -> info().
info(Room) ->
    call(info, Room, Room, {<<>>, <<>>, <<>>}).

%% @doc Publishes an element as the room itself. An empty id has one made. In the room's own process (most hooks of mod_muc run
%% there) the answer comes before the item is published, since the engine may have to ask the room.
-spec publish(jid(), binary(), xmlel(), binary()) -> {ok, binary()} | {error, term()}.
publish(#jid{luser = Name, lserver = Domain} = Jid, Node, Payload, Id) ->
    Room = jid:remove_resource(Jid),
    case pam_pps:domain(Domain) of
	{rooms, Host} ->
	    case mod_muc:unhibernate_room(Host, Domain, Name) of
		{ok, Pid} when Pid == self() ->
		    Chosen = case Id of <<>> -> p1_rand:get_string(); _ -> Id end,
		    _ = spawn(?MODULE, publish_now, [Room, Node, Payload, Chosen]),
		    {ok, Chosen};
		{ok, _} -> publish_now(Room, Node, Payload, Id);
		_ -> {error, 'item-not-found'}
	    end;
	_ -> {error, 'item-not-found'}
    end.

-spec publish_now(jid(), binary(), xmlel(), binary()) -> {ok, binary()} | {error, term()}.
publish_now(Room, Node, Payload, Id) ->
    Item = #xmlel{name = <<"item">>, attrs = [{<<"id">>, Id} || Id /= <<>>], children = [Payload]},
    Publish = #xmlel{name = <<"publish">>, attrs = [{<<"node">>, Node}], children = [Item]},
    PubSub = #xmlel{name = <<"pubsub">>, attrs = [{<<"xmlns">>, ?NS_PUBSUB}], children = [Publish]},
    case pam_pps:ask(#iq{type = set, from = Room, to = Room, sub_els = [PubSub]}, true) of
	{ok, #iq{type = result, sub_els = [Answer]}, Events} ->
	    pam_pps_events:fire(Events),
	    {ok, fxml:get_path_s(xmpp:encode(Answer), [{elem, <<"publish">>}, {elem, <<"item">>}, {attr, <<"id">>}])};
	{ok, #iq{} = Refused, _} ->
	    #stanza_error{reason = Reason} = xmpp:get_error(Refused),
	    {error, Reason};
	{error, _} = Error -> Error
    end.

%% @doc Sends a room's own list on, with what the engine adds for the one who asked.
-spec listed(iq(), stanza() | none) -> ok.
listed(#iq{sub_els = [#disco_items{items = Own} = List]} = Answer, #iq{type = result, sub_els = [El]}) ->
    #disco_items{items = Nodes} = xmpp:decode(El),
    listed(Answer#iq{sub_els = [List#disco_items{items = Own ++ Nodes}]}, none);
listed(#iq{to = To} = Answer, _) ->
    ejabberd_router:route(xmpp:put_meta(Answer, pam_pps, To)).

%%%===================================================================
%%% Requests and answers
%%%===================================================================

%% Everything in the server passes here.
-spec filter_packet(stanza() | drop) -> stanza() | drop.
filter_packet(#iq{to = #jid{luser = User, lserver = Domain}, type = Type} = IQ) when User /= <<>>, Type == get; Type == set ->
    case pam_pps:domain(Domain) of
	{rooms, _} -> request(IQ, mod_pam_pps:is_new(IQ) andalso concerns_engine(IQ));
	_ -> relayed(IQ)
    end;
filter_packet(#iq{to = #jid{luser = User, lserver = Domain, lresource = <<>>}, id = <<"pps-", _/binary>>} = IQ) when User /= <<>> ->
    case pam_pps:domain(Domain) of
	{rooms, _} -> request(IQ, mod_pam_pps:is_new(IQ));
	_ -> IQ
    end;
filter_packet(#iq{type = result, from = #jid{luser = User, lserver = Domain, lresource = <<>>}, sub_els = [El]} = IQ)
  when User /= <<>>, is_record(El, disco_info); User /= <<>>, is_record(El, disco_items) ->
    case pam_pps:domain(Domain) of
	{rooms, _} -> answer(IQ, El);
	_ -> IQ
    end;
filter_packet(#presence{type = unavailable, from = #jid{lserver = Domain} = Old, to = Client,
			sub_els = [#muc_user{status_codes = [303, 110], items = [#muc_item{nick = Nick}]}]} = Presence) ->
    %% The client must not know its new nick before the engine does.
    _ = [named(jid:remove_resource(Old), Client, Nick)
	 || {rooms, _} <- [pam_pps:domain(Domain)], get(?NICK(Client)) /= undefined],
    Presence;
filter_packet(#message{type = groupchat, from = #jid{luser = User, lserver = Domain, lresource = <<>>},
		       sub_els = [#muc_user{status_codes = [_ | _]}]} = Message) ->
    %% Others than owners configure rooms, too, and mod_muc has no hook for it.
    _ = [changed(Room) || {rooms, _} <- [pam_pps:domain(Domain)], {ok, Room} <- [find(User, Domain)]],
    Message;
filter_packet(Packet) ->
    Packet.

-spec request(iq(), boolean()) -> iq() | drop.
request(#iq{to = #jid{luser = Room, lserver = Domain}} = IQ, true) ->
    case find(Room, Domain) of
	{ok, _} -> mod_pam_pps:take(IQ);
	error -> IQ
    end;
request(IQ, false) ->
    IQ.

%% A room answers for itself what has no node; what is added to its answers is added when it has given them.
-spec concerns_engine(iq()) -> boolean().
concerns_engine(#iq{sub_els = [El], to = #jid{lresource = Nick}}) ->
    case xmpp:get_ns(El) of
	?NS_PUBSUB -> true;
	?NS_PUBSUB_OWNER -> true;
	NS when NS == ?NS_DISCO_INFO; NS == ?NS_DISCO_ITEMS ->
	    Nick /= <<>> orelse fxml:get_tag_attr_s(<<"node">>, xmpp:encode(El)) /= <<>>;
	_ -> false
    end;
concerns_engine(_) ->
    false.

%% An avatar or a key is with the account; older versions of mod_muc ask the client, as newer ones do not.
-spec relayed(iq()) -> iq().
relayed(#iq{type = get, from = #jid{lserver = Domain, lresource = Nick}, to = #jid{lresource = Resource} = To, sub_els = [El]} = IQ)
  when Nick /= <<>>, Resource /= <<>> ->
    case xmpp:get_ns(El) == ?NS_PUBSUB andalso pam_pps:domain(Domain) of
	{rooms, _} -> xmpp:set_to(IQ, jid:remove_resource(To));
	_ -> IQ
    end;
relayed(IQ) ->
    IQ.

%% What a room answers about itself.
-spec answer(iq(), disco_info() | disco_items()) -> iq() | drop.
answer(#iq{from = #jid{lserver = Domain}} = IQ, #disco_info{node = <<>>, identities = Identities, features = Features} = Info) ->
    {MoreIdentities, MoreFeatures} = pam_pps:announced(Domain, room),
    IQ#iq{sub_els = [Info#disco_info{identities = Identities ++ MoreIdentities,
				     features = Features ++ (MoreFeatures -- Features)}]};
answer(#iq{from = Room, to = To} = IQ, #disco_items{node = <<>>}) ->
    case mod_pam_pps:is_new(IQ) of
	true ->
	    Id = p1_rand:get_string(),
	    Question = #iq{type = get, id = Id, from = To, to = Room, sub_els = [#disco_items{}]},
	    case submit(Question, #{context => {list, IQ, Id}}) of
		ok -> drop;
		{error, _} -> IQ
	    end;
	false -> IQ
    end;
answer(IQ, _) ->
    IQ.

%%%===================================================================
%%% In the process of a room
%%%===================================================================

%% Before anybody hears of it. Whoever is still there after this is looked at when the room has done what follows from it: the
%% last items are sent after its history and subject (XEP-0316, section 5).
-spec muc_filter_presence(presence() | drop, #state{}, binary()) -> presence() | drop.
muc_filter_presence(#presence{type = available, from = From} = Presence, #state{jid = Room, just_created = New}, Nick) ->
    %% A room of that name may have ended with the server.
    _ = [forget(Room) || New == true],
    put(?COMING, {From, Nick}),
    ask(self(), {look, From}),
    Presence;
muc_filter_presence(#presence{from = From} = Presence, #state{jid = Room}, _Nick) ->
    left(Room, From),
    Presence;
muc_filter_presence(drop, _State, _Nick) ->
    drop.

-spec join_room(binary(), binary(), binary(), jid()) -> ok.
join_room(_ServerHost, Name, Domain, Client) ->
    case erase(?COMING) of
	{Client, Nick} -> named(jid:make(Name, Domain), Client, Nick);
	%% After a CAPTCHA.
	_ -> ask(self(), {look, Client})
    end.

-spec leave_room(binary(), binary(), binary(), jid()) -> ok.
leave_room(_ServerHost, Name, Domain, Client) ->
    left(jid:make(Name, Domain), Client).

%% The newer versions say whether the room was persistent.
-spec room_destroyed(binary(), binary(), binary(), boolean()) -> ok.
room_destroyed(ServerHost, Name, Domain, _Persistent) ->
    room_destroyed(ServerHost, Name, Domain).

-spec room_destroyed(binary(), binary(), binary()) -> ok.
room_destroyed(_ServerHost, Name, Domain) ->
    forget(jid:make(Name, Domain)).

%% The subject may be another one when the room is done with this.
-spec muc_filter_message(message() | drop, #state{}, binary()) -> message() | drop.
muc_filter_message(#message{subject = [_ | _]} = Message, _State, _Nick) ->
    changed(self()),
    Message;
muc_filter_message(Message, _State, _Nick) ->
    Message.

%% Looks once at what the room says of itself, however many are told of a change.
-spec changed(pid()) -> ok.
changed(Room) when Room == self() ->
    _ = [ask(Room, changed) || put(?CHANGING, true) /= true],
    ok;
changed(Room) ->
    ask(Room, changed).

-spec muc_process_iq(iq() | ignore, #state{}) -> iq() | ignore | {stop, ignore}.
muc_process_iq(#iq{meta = #{?MODULE := Question}}, State) ->
    answer_question(Question, State),
    {stop, ignore};
muc_process_iq(IQ, _State) ->
    IQ.

-spec answer_question(question(), #state{}) -> ok.
answer_question(everyone, #state{users = Users} = State) ->
    %% What was known is from before the engine's rooms were started.
    _ = [erase(Key) || {?MODULE, _} = Key <- get_keys()],
    lists:foreach(fun(#user{jid = Client}) -> answer_question({look, Client}, State) end, maps:values(Users));
answer_question({look, Client}, #state{users = Users, jid = Room}) ->
    case maps:find(jid:tolower(Client), Users) of
	{ok, #user{nick = Nick, last_presence = #presence{type = available} = Presence}} ->
	    named(Room, Client, Nick),
	    show(Presence, Room, Client, Nick);
	_ -> ok
    end;
answer_question(changed, #state{jid = Room} = State) ->
    erase(?CHANGING),
    Info = info_of(State),
    _ = [pam_pps:submit(room_changed, jid:encode(Room), jid:encode(Room)) || put(?INFO, Info) /= Info],
    ok;
answer_question({info, _, Ref}, State) ->
    Info = info_of(State),
    put(?INFO, Info),
    Ref ! {Ref, Info},
    ok;
answer_question({standing, Who, Ref}, #state{users = Users, config = #config{moderated = Moderated}} = State) ->
    %% mod_muc lets a visitor speak where there is no moderation.
    Voice = case maps:find(jid:tolower(Who), Users) of
		{ok, #user{role = Role}} -> Role == participant orelse Role == moderator orelse not Moderated;
		error -> false
	    end,
    Ref ! {Ref, {mod_muc_room:get_affiliation(Who, State), Voice}},
    ok.

-spec info_of(#state{}) -> info().
info_of(#state{config = #config{title = Title, description = Description}, subject = Subject}) ->
    {Title, Description, xmpp:get_text(Subject)}.

%% The engine is to know the client under that nick.
-spec named(jid(), jid(), binary()) -> ok.
named(Room, Client, Nick) ->
    case put(?NICK(Client), Nick) of
	Nick -> ok;
	undefined -> show(#presence{}, Room, Client, Nick);
	Old ->
	    Item = #muc_item{jid = Client, nick = Nick},
	    tell(#presence{type = unavailable, from = jid:replace_resource(Room, Old), to = Room,
			   sub_els = [#muc_user{items = [Item], status_codes = [303]}]})
    end.

-spec left(jid(), jid()) -> ok.
left(Room, Client) ->
    case erase(?NICK(Client)) of
	undefined -> ok;
	Nick -> tell(occupant(#presence{type = unavailable}, Room, Client, Nick, []))
    end.

-spec show(presence(), jid(), jid(), binary()) -> ok.
show(#presence{show = Show} = Presence, Room, Client, Nick) ->
    Capabilities = [El || El <- xmpp:get_els(Presence), xmpp:get_name(El) == <<"c">>],
    tell(occupant(#presence{show = Show}, Room, Client, Nick, Capabilities)).

-spec occupant(presence(), jid(), jid(), binary(), [xmpp_element() | xmlel()]) -> presence().
occupant(Presence, Room, Client, Nick, Els) ->
    Presence#presence{from = jid:replace_resource(Room, Nick), to = Room,
		      sub_els = [#muc_user{items = [#muc_item{jid = Client}]} | Els]}.

%%%===================================================================
%%% Internal functions
%%%===================================================================

%% While mod_muc starts and stops, its domains are not known to it.
-spec find(binary(), binary()) -> {ok, pid()} | error.
find(Name, Domain) ->
    try mod_muc:find_online_room(Name, Domain)
    catch error:{unregistered_route, _} -> error
    end.

-spec rooms_of(binary()) -> [{binary(), binary(), pid()}].
rooms_of(Domain) ->
    try mod_muc:get_online_rooms(Domain)
    catch error:{unregistered_route, _} -> []
    end.

-spec ask(pid(), question()) -> ok.
ask(Room, Question) ->
    Nowhere = jid:make(<<>>, <<"localhost">>, <<>>),
    IQ = #iq{type = get, from = Nowhere, to = Nowhere, sub_els = [#ping{}], meta = #{?MODULE => Question}},
    mod_muc_room:route(Room, IQ).

%% Asks a room and waits. Its answer comes to a monitor's alias, so that a late one disturbs nobody.
-spec call(standing | info, jid(), jid(), T) -> T.
call(What, Jid, #jid{luser = Name, lserver = Domain}, Default) ->
    case find(Name, Domain) of
	{ok, Room} ->
	    Ref = erlang:monitor(process, Room, [{alias, reply_demonitor}]),
	    ask(Room, {What, Jid, Ref}),
	    receive
		{Ref, Answer} -> Answer;
		{'DOWN', Ref, _, _, _} -> Default
	    after ?PATIENCE ->
		    erlang:demonitor(Ref, [flush]),
		    receive {Ref, Answer} -> Answer after 0 -> Default end
	    end;
	error -> Default
    end.

-spec forget(jid()) -> ok.
forget(Room) ->
    Name = jid:encode(Room),
    _ = pam_pps:submit(account_removed, Name, Name),
    ok.

-spec tell(presence()) -> ok.
tell(Presence) ->
    _ = submit(Presence, #{}),
    ok.

-spec submit(stanza(), map()) -> ok | {error, pam_pps_nif:reason()}.
submit(Stanza, More) ->
    pam_pps:submit(stanza, jid:encode(xmpp:get_to(Stanza)), xmpp:encode(Stanza), More).

%% The same as publish/4, for modules that do not want to name this one.
-spec publish_in_room(term(), jid(), binary(), xmlel(), binary()) -> {ok, binary()} | {error, term()}.
publish_in_room(_Acc, Room, Node, Payload, Id) ->
    publish(Room, Node, Payload, Id).

-spec hook(fun((atom(), binary(), module(), atom(), integer()) -> term()), binary()) -> ok.
hook(Do, Host) ->
    lists:foreach(fun({Hook, Function, Place}) -> Do(Hook, Host, ?MODULE, Function, Place) end, hooks()),
    pam_pps_room_command:hook(Do, Host).

%% Hook, function, place: behind those who may drop a presence, before those who would wonder about a question.
-spec hooks() -> [{atom(), atom(), integer()}].
hooks() ->
    [{muc_filter_presence, muc_filter_presence, 100},
     {muc_filter_message, muc_filter_message, 100},
     {muc_process_iq, muc_process_iq, 1},
     {join_room, join_room, 50},
     {leave_room, leave_room, 50},
     {room_destroyed, room_destroyed, 50},
     {pam_pps_publish_in_room, publish_in_room, 50}].
