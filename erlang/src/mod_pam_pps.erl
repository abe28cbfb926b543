%%% @doc Publish-subscribe by libpam_pps: personal eventing, account-managed and public subscriptions on a virtual host, and
%%% its pubsub services. This module hooks, converts and submits; the engine decides.
-module(mod_pam_pps).
-behaviour(gen_mod).

-protocol({xep, 4, '2.13.2'}).
-protocol({xep, 30, '2.5.0'}).
-protocol({xep, 50, '1.3.0'}).
-protocol({xep, 59, '1.0'}).
-protocol({xep, 60, '1.30.0'}).
-protocol({xep, 115, '1.6.0'}).
-protocol({xep, 163, '1.2.2'}).
-protocol({xep, 207, '1.0'}).
-protocol({xep, 313, '1.1.3'}).
-protocol({xep, 316, '0.1'}).
-protocol({xep, 376, '0.2'}).
-protocol({xep, 390, '0.3.2'}).
-protocol({xep, 442, '0.2.0'}).
-protocol({xep, 462, '0.1.1'}).
-protocol({xep, 465, '0.1.1'}).

%% gen_mod
-export([start/2, stop/1, reload/3, depends/2, mod_opt_type/1, mod_options/1, mod_doc/0]).
%% hooks and routes
-export([filter_packet/1, sm_receive_packet/1, c2s_self_presence/1, c2s_terminated/2, c2s_handle_info/2,
	 roster_in_subscription/2, roster_out_subscription/1, roster_process_item/2, remove_user/2,
	 disco_account_identity/5, disco_account_features/5, disco_domain_identity/5, disco_domain_features/5, route/1,
	 config_reloaded/0]).
%% for pam_pps_worker and pam_pps_rooms
-export([pass_on/1, take/1, is_new/1]).
%% for modules of the server
-export([publish_in_room/4]).

-include("logger.hrl").
-include("xmpp.hrl").
-include("mod_roster.hrl").
-include("translate.hrl").

-define(NS_PAM, <<"urn:xmpp:pam:0">>).
-define(NS_PAM_FILTER, <<"urn:xmpp:pam:0#filter">>).
%% How long a change of a roster that was made otherwise than by its owner may take to be stored, in milliseconds.
-define(ROSTER_DELAY, 50).

%%%===================================================================
%%% gen_mod
%%%===================================================================

-spec start(binary(), gen_mod:opts()) -> ok | {error, term()}.
start(Host, Opts) ->
    case pam_pps:acquire(Host, pam_pps_options:engine(Opts)) of
	ok ->
	    case serve(Host, Opts) of
		ok ->
		    hook(fun ejabberd_hooks:add/5, Host),
		    pam_pps_commands:register(),
		    pam_pps_presence:start(Host);
		{error, Reason} ->
		    stop_serving(Host),
		    wrong(Reason)
	    end;
	{error, Reason} ->
	    wrong(Reason)
    end.

-spec stop(binary()) -> ok.
stop(Host) ->
    hook(fun ejabberd_hooks:delete/5, Host),
    _ = [pam_pps_commands:unregister() || is_only(Host)],
    stop_serving(Host).

-spec reload(binary(), gen_mod:opts(), gen_mod:opts()) -> ok | {error, term()}.
reload(Host, NewOpts, OldOpts) ->
    case pam_pps_options:engine(NewOpts) == pam_pps_options:engine(OldOpts) of
	true -> ok;
	false -> ?WARNING_MSG("Options of the engine (database, commit, ...) change with a restart", [])
    end,
    Kept = [Domain || {Domain, _, _} <- pam_pps_options:domains(Host, NewOpts)],
    lists:foreach(fun withdraw/1, [Old || {Domain, _} = Old <- pam_pps:domains(Host), not lists:member(Domain, Kept)]),
    case serve(Host, NewOpts) of
	ok -> ok;
	{error, Reason} -> wrong(Reason)
    end.

%% The chat services of mod_muc may be others now, though nothing else has changed here.
-spec config_reloaded() -> ok.
config_reloaded() ->
    lists:foreach(
      fun(Host) ->
	      Opts = gen_mod:get_module_opts(Host, ?MODULE),
	      Wanted = [Domain || {Domain, rooms, _} <- pam_pps_options:domains(Host, Opts)],
	      Served = [Domain || {Domain, rooms} <- pam_pps:domains(Host)],
	      lists:sort(Wanted) == lists:sort(Served) orelse reload(Host, Opts, Opts)
      end, [Host || Host <- ejabberd_option:hosts(), gen_mod:is_loaded(Host, ?MODULE)]).

-spec depends(binary(), gen_mod:opts()) -> [{module(), hard | soft}].
depends(_Host, Opts) ->
    [{mod_roster, soft}, {mod_disco, soft} | [{mod_muc, soft} || maps:get(rooms, Opts, false)]].

-spec mod_opt_type(atom()) -> econf:validator().
mod_opt_type(Option) ->
    pam_pps_options:type(Option).

-spec mod_options(binary()) -> [{atom(), term()} | atom()].
mod_options(Host) ->
    pam_pps_options:defaults(Host).

mod_doc() ->
    pam_pps_options:doc().

%%%===================================================================
%%% For modules of the server
%%%===================================================================

%% @doc Publishes an element as the room itself (XEP-0316). An empty id has one made.
-spec publish_in_room(jid(), binary(), xmlel(), binary()) -> {ok, Id :: binary()} | {error, term()}.
publish_in_room(Room, Node, Payload, Id) ->
    pam_pps_rooms:publish(Room, Node, Payload, Id).

%%%===================================================================
%%% Stanzas for accounts and their domains
%%%===================================================================

%% Before the modules of the server look at what came for the account.
-spec sm_receive_packet(stanza()) -> stanza() | drop.
sm_receive_packet(Stanza) ->
    case is_new(Stanza) of
	true -> account_stanza(Stanza);
	false -> Stanza
    end.

-spec account_stanza(stanza()) -> stanza() | drop.
account_stanza(#presence{to = To, from = From} = Presence) ->
    case jid:remove_resource(From) == jid:remove_resource(To) of
	%% The account's own presence is fed by c2s_self_presence.
	true -> Presence;
	false -> contact_presence(Presence)
    end;
account_stanza(#iq{type = Type, to = #jid{lresource = <<>>}} = IQ) when Type == get; Type == set ->
    case is_for_account(IQ) of
	true ->
	    pam_pps_fill:before(IQ),
	    take_request(IQ);
	false -> IQ
    end;
account_stanza(#iq{to = #jid{lresource = <<>>}, id = <<"pps-", _/binary>>} = IQ) ->
    take(IQ);
account_stanza(#message{to = #jid{lresource = <<>>}} = Message) ->
    message(Message);
account_stanza(Stanza) ->
    Stanza.

%% What the domain of accounts is sent; everything in the server passes here.
-spec filter_packet(stanza() | drop) -> stanza() | drop.
filter_packet(#iq{to = #jid{luser = <<>>, lresource = <<>>, lserver = Domain}} = IQ) ->
    case is_for_domain(IQ) andalso is_new(IQ) andalso pam_pps:domain(Domain) of
	{accounts, _} -> take(IQ);
	_ -> IQ
    end;
filter_packet(#message{to = #jid{luser = <<>>, lresource = <<>>, lserver = Domain}} = Message) ->
    case is_new(Message) andalso pam_pps:domain(Domain) of
	{accounts, _} -> message(Message);
	_ -> Message
    end;
filter_packet(Stanza) ->
    Stanza.

%% @doc What the engine did not want goes on as if this module were not there.
-spec pass_on(stanza()) -> ok.
pass_on(Stanza) ->
    To = #jid{lserver = Domain} = xmpp:get_to(Stanza),
    Marked = xmpp:put_meta(Stanza, pam_pps, To),
    case pam_pps:domain(Domain) of
	{rooms, _} -> ejabberd_router:route(Marked);
	{component, ServerHost} -> pam_pps_service:unhandled(ServerHost, Stanza);
	_ when To#jid.luser == <<>> -> ejabberd_router:route(Marked);
	_ -> ejabberd_sm:route(Marked)
    end.

%% @doc Whether the engine has not passed the stanza on. What a room relays keeps the mark, but goes to somebody else.
-spec is_new(stanza()) -> boolean().
is_new(Stanza) ->
    xmpp:get_meta(Stanza, pam_pps, undefined) /= xmpp:get_to(Stanza).

-spec is_for_account(iq()) -> boolean().
is_for_account(#iq{sub_els = [El]} = IQ) ->
    case xmpp:get_ns(El) of
	?NS_PUBSUB -> true;
	?NS_PUBSUB_OWNER -> true;
	?NS_PAM -> true;
	?NS_PAM_FILTER -> true;
	?NS_DISCO_ITEMS -> node_of(El) /= ?NS_COMMANDS;
	?NS_DISCO_INFO -> not answered_by_server(node_of(El), IQ);
	?NS_COMMANDS -> is_get_pending(El);
	?NS_MAM_2 -> is_archive_query(El);
	_ -> false
    end;
is_for_account(_) ->
    false.

-spec is_for_domain(iq()) -> boolean().
is_for_domain(#iq{type = Type, id = Id}) when Type == result; Type == error ->
    case Id of
	<<"pps-", _/binary>> -> true;
	_ -> false
    end;
is_for_domain(#iq{sub_els = [El]}) ->
    case xmpp:get_ns(El) of
	?NS_PAM -> true;
	?NS_PAM_FILTER -> true;
	?NS_COMMANDS -> is_get_pending(El);
	?NS_MAM_2 -> is_archive_query(El);
	_ -> false
    end;
is_for_domain(_) ->
    false.

%% The server answers owner and contacts about an account; strangers must learn nothing, not even whether it exists.
-spec answered_by_server(binary(), iq()) -> boolean().
answered_by_server(?NS_COMMANDS, _IQ) -> true;
answered_by_server(<<>>, #iq{from = From, to = To}) -> mod_roster:is_subscribed(From, To);
answered_by_server(_Node, _IQ) -> false.

-spec is_get_pending(xmpp_element() | xmlel()) -> boolean().
is_get_pending(El) ->
    case node_of(El) of
	<<"http://jabber.org/protocol/pubsub", _/binary>> -> true;
	_ -> false
    end.

%% Archives of nodes that the engine makes up; the others are the server's.
-spec is_archive_query(xmpp_element() | xmlel()) -> boolean().
is_archive_query(El) ->
    case node_of(El) of
	?NS_PAM -> true;
	<<"urn:xmpp:pps:", _/binary>> -> true;
	_ -> false
    end.

%% Stanzas of the wire carry elements, those that modules of the server make may carry records.
-spec node_of(xmpp_element() | xmlel()) -> binary().
node_of(#xmlel{} = El) -> fxml:get_tag_attr_s(<<"node">>, El);
node_of(Record) -> fxml:get_tag_attr_s(<<"node">>, xmpp:encode(Record)).

%% Requests to an account do not pass through a session, where the server looks at the owner's block list.
-spec take_request(iq()) -> iq() | drop.
take_request(#iq{to = #jid{lserver = Server} = To} = IQ) ->
    case ejabberd_hooks:run_fold(privacy_check_packet, Server, allow, [To, IQ, in]) of
	allow -> take_allowed(IQ, Server);
	deny ->
	    ejabberd_router:route_error(IQ, xmpp:err_service_unavailable()),
	    drop
    end.

-spec message(message()) -> message() | drop.
message(#message{type = error} = Message) ->
    feed(Message),
    Message;
message(Message) ->
    case [El || El <- Message#message.sub_els, is_wanted(El)] of
	[] -> Message;
	_ -> take(Message)
    end.

%% Events, and answers to forms.
-spec is_wanted(xmpp_element() | xmlel()) -> boolean().
is_wanted(El) ->
    case {xmpp:get_name(El), xmpp:get_ns(El)} of
	{<<"event">>, ?NS_PUBSUB_EVENT} -> true;
	{<<"x">>, ?NS_XDATA} -> lists:member(form_type(El), [<<"submit">>, <<"cancel">>]);
	_ -> false
    end.

-spec form_type(xmpp_element() | xmlel()) -> binary().
form_type(#xmlel{} = El) -> fxml:get_tag_attr_s(<<"type">>, El);
form_type(Record) -> fxml:get_tag_attr_s(<<"type">>, xmpp:encode(Record)).

%% Contacts show themselves to the bare JID, and to a session that probed them; so do rooms, which nobody here asked.
-spec contact_presence(presence()) -> presence().
contact_presence(#presence{type = Type, to = To, from = From} = Presence)
  when Type == available; Type == unavailable; Type == error ->
    case To#jid.lresource == <<>> orelse (is_no_room(Presence) andalso mod_roster:is_subscribed(To, From)) of
	true -> feed(Presence#presence{to = jid:remove_resource(To)});
	false -> ok
    end,
    Presence;
contact_presence(Presence) ->
    Presence.

-spec is_no_room(presence()) -> boolean().
is_no_room(Presence) ->
    not xmpp:has_subtag(Presence, #muc_user{}).

%%%===================================================================
%%% Sessions, rosters, accounts
%%%===================================================================

-spec c2s_self_presence({presence(), ejabberd_c2s:state()}) -> {presence(), ejabberd_c2s:state()}.
c2s_self_presence({#presence{type = Type} = Presence, #{jid := Jid}} = Acc) when Type == available; Type == unavailable ->
    pam_pps_presence:show(Presence, Jid, undefined),
    Acc;
c2s_self_presence(Acc) ->
    Acc.

%% A session that was replaced by another of the same name did not take it along.
-spec c2s_terminated(ejabberd_c2s:state(), term()) -> ejabberd_c2s:state().
c2s_terminated(#{jid := #jid{luser = User, lserver = Server, lresource = Resource} = Jid, sid := Sid} = State, _Reason) ->
    _ = case ejabberd_sm:get_session_sid(User, Server, Resource) of
	    Other when Other /= none, Other /= Sid -> ok;
	    _ -> pam_pps:submit(session_ended, bare(Jid), jid:encode(Jid))
	end,
    State;
c2s_terminated(State, _Reason) ->
    State.

%% The session has handled its owner's change of the roster.
-spec c2s_handle_info(ejabberd_c2s:state(), term()) -> ejabberd_c2s:state() | {stop, ejabberd_c2s:state()}.
c2s_handle_info(State, {pam_pps_roster, Owner, Contact}) ->
    roster_changed(Owner, Contact),
    {stop, State};
c2s_handle_info(State, _Info) ->
    State.

-spec roster_in_subscription(boolean(), presence()) -> boolean().
roster_in_subscription(Acc, #presence{from = From, to = To}) ->
    roster_changed(bare(To), bare(From)),
    Acc.

-spec roster_out_subscription(presence()) -> ok.
roster_out_subscription(#presence{from = From, to = To}) ->
    roster_changed(bare(From), bare(To)).

%% Inside the transaction that stores the item. A session looks at it as soon as it is done; what others do is looked at later.
-spec roster_process_item(#roster{}, binary()) -> #roster{}.
roster_process_item(#roster{us = {User, Server}, jid = Contact} = Item, _Host) ->
    {Owner, Other} = {jid:encode({User, Server, <<>>}), jid:encode(jid:remove_resource(Contact))},
    Message = {pam_pps_roster, Owner, Other},
    _ = case lists:any(fun({_, Pid}) -> Pid == self() end, ejabberd_sm:get_session_sids(User, Server)) of
	    true -> self() ! Message;
	    false -> erlang:send_after(?ROSTER_DELAY, pam_pps_worker:name(Owner), Message)
	end,
    Item.

-spec roster_changed(binary(), binary()) -> ok.
roster_changed(Owner, Contact) ->
    _ = pam_pps:submit(roster_changed, Owner, Owner, #{extra => Contact}),
    ok.

-spec remove_user(binary(), binary()) -> ok.
remove_user(User, Server) ->
    Account = bare(jid:make(User, Server)),
    _ = pam_pps:submit(account_removed, Account, Account),
    ok.

%%%===================================================================
%%% Disco
%%%===================================================================

-spec disco_account_identity([identity()], jid(), jid(), binary(), binary()) -> [identity()].
disco_account_identity(Acc, _From, #jid{lserver = Server}, <<>>, _Lang) ->
    Acc ++ element(1, pam_pps:announced(Server, account));
disco_account_identity(Acc, _From, _To, _Node, _Lang) ->
    Acc.

-spec disco_account_features(mod_disco:features_acc(), jid(), jid(), binary(), binary()) -> mod_disco:features_acc().
disco_account_features(Acc, _From, #jid{lserver = Server}, <<>>, _Lang) ->
    add_features(Acc, element(2, pam_pps:announced(Server, account)));
disco_account_features(Acc, _From, _To, _Node, _Lang) ->
    Acc.

-spec disco_domain_identity([identity()], jid(), jid(), binary(), binary()) -> [identity()].
disco_domain_identity(Acc, _From, #jid{lserver = Server}, <<>>, _Lang) ->
    Acc ++ element(1, pam_pps:announced(Server, domain));
disco_domain_identity(Acc, _From, _To, _Node, _Lang) ->
    Acc.

-spec disco_domain_features(mod_disco:features_acc(), jid(), jid(), binary(), binary()) -> mod_disco:features_acc().
disco_domain_features(Acc, _From, #jid{lserver = Server}, <<>>, _Lang) ->
    add_features(Acc, element(2, pam_pps:announced(Server, domain)));
disco_domain_features(Acc, _From, _To, _Node, _Lang) ->
    Acc.

-spec add_features(mod_disco:features_acc(), [binary()]) -> mod_disco:features_acc().
add_features({error, _} = Error, _Features) -> Error;
add_features({result, Known}, Features) -> {result, Known ++ Features};
add_features(empty, Features) -> {result, Features}.

%%%===================================================================
%%% Pubsub services
%%%===================================================================

%% Every stanza for a service.
-spec route(stanza()) -> ok.
route(#presence{} = Presence) ->
    feed(Presence);
route(#iq{type = set, to = #jid{lserver = Domain}} = IQ) ->
    {_, ServerHost} = pam_pps:domain(Domain),
    _ = take_allowed(IQ, ServerHost),
    ok;
route(Stanza) ->
    _ = take(Stanza),
    ok.

%% The rule `access_createnode', as mod_pubsub has it.
-spec take_allowed(iq(), binary()) -> drop.
take_allowed(IQ, ServerHost) ->
    case is_creation(IQ) andalso gen_mod:get_module_opt(ServerHost, ?MODULE, access_createnode) of
	Rule when is_boolean(Rule); Rule == undefined -> take(IQ);
	Rule ->
	    case acl:match_rule(ServerHost, Rule, IQ#iq.from) of
		allow -> take(IQ);
		deny ->
		    Text = ?T("You're not allowed to create nodes"),
		    ejabberd_router:route_error(IQ, xmpp:err_forbidden(Text, IQ#iq.lang)),
		    drop
	    end
    end.

-spec is_creation(iq()) -> boolean().
is_creation(#iq{type = set, sub_els = [#xmlel{name = <<"pubsub">>} = El]}) ->
    fxml:get_subtag(El, <<"create">>) /= false;
is_creation(_) ->
    false.

%%%===================================================================
%%% Internal functions
%%%===================================================================

%% @doc Gives the stanza to the engine, which answers it or passes it on.
-spec take(stanza()) -> drop.
take(#iq{type = set, lang = Lang} = IQ) ->
    case pam_pps_sender:is_full() of
	true ->
	    Error = xmpp:err_resource_constraint(?T("Too many notifications wait to be written"), Lang),
	    ejabberd_router:route_error(IQ, Error#stanza_error{type = wait}),
	    drop;
	false -> take_over(IQ)
    end;
take(Stanza) ->
    take_over(Stanza).

-spec take_over(stanza()) -> drop.
take_over(Stanza) ->
    case submit(Stanza, #{context => context(Stanza)}) of
	ok -> ok;
	{error, _} -> pam_pps_worker:refuse({taken, Stanza})
    end,
    drop.

%% Copying a whole stanza is much of what a short request costs, and none of what a service is asked about publish-subscribe goes on.
-spec context(stanza()) -> pam_pps:context().
context(#iq{type = Type, to = #jid{luser = <<>>, lresource = <<>>, lserver = Domain}, sub_els = [El]} = IQ)
  when Type == get; Type == set ->
    Ns = xmpp:get_ns(El),
    case (Ns == ?NS_PUBSUB orelse Ns == ?NS_PUBSUB_OWNER) andalso pam_pps:domain(Domain) of
	{component, _} -> {asked, IQ};
	_ -> {taken, IQ}
    end;
context(Stanza) ->
    {taken, Stanza}.

%% Shows the stanza to the engine; others handle it too.
-spec feed(stanza()) -> ok.
feed(Stanza) ->
    _ = submit(Stanza, #{}),
    ok.

-spec submit(stanza(), map()) -> ok | {error, pam_pps_nif:reason()}.
submit(Stanza, More) ->
    pam_pps:submit(stanza, bare(xmpp:get_to(Stanza)), xmpp:encode(Stanza), More).

-spec bare(jid()) -> binary().
bare(#jid{luser = <<>>, lserver = Server}) -> Server;
bare(#jid{luser = User, lserver = Server}) -> jid:encode({User, Server, <<>>}).

-spec serve(binary(), gen_mod:opts()) -> ok | {error, term()}.
serve(Host, Opts) ->
    serve_domains(Host, pam_pps_options:domains(Host, Opts)).

-spec serve_domains(binary(), [{binary(), pam_pps:kind(), [{binary(), binary()}]}]) -> ok | {error, term()}.
serve_domains(Host, [{Domain, Kind, Options} | Rest]) ->
    case pam_pps:serve(Domain, Kind, Host, Options) of
	ok ->
	    register_route(Domain, Kind, Host),
	    serve_domains(Host, Rest);
	{error, _} = Error -> Error
    end;
serve_domains(_Host, []) ->
    ok.

-spec register_route(binary(), pam_pps:kind(), binary()) -> ok.
register_route(Domain, component, Host) ->
    ejabberd_router:register_route(Domain, Host, {apply, ?MODULE, route}, whereis(pam_pps_sup));
register_route(Domain, rooms, Host) ->
    pam_pps_rooms:start(Domain, Host);
register_route(_Domain, accounts, _Host) ->
    ok.

-spec withdraw({binary(), pam_pps:kind()}) -> ok.
withdraw({Domain, Kind}) ->
    case {Kind, whereis(pam_pps_sup)} of
	{component, Pid} when is_pid(Pid) -> ejabberd_router:unregister_route(Domain, Pid);
	_ -> ok
    end,
    _ = [pam_pps_rooms:stop(Domain) || Kind == rooms],
    pam_pps:unserve(Domain).

-spec stop_serving(binary()) -> ok.
stop_serving(Host) ->
    lists:foreach(fun withdraw/1, pam_pps:domains(Host)),
    pam_pps:release(Host).

-spec wrong(term()) -> {error, term()}.
wrong({_, Text} = Reason) when is_binary(Text) ->
    ?ERROR_MSG("mod_pam_pps: ~ts", [Text]),
    {error, Reason};
wrong(Reason) ->
    ?ERROR_MSG("mod_pam_pps: ~p", [Reason]),
    {error, Reason}.

-spec hook(fun((atom(), binary() | global, module(), atom(), integer()) -> term()), binary()) -> ok.
hook(Do, Host) ->
    lists:foreach(fun({Hook, Function, Place}) -> Do(Hook, Host, ?MODULE, Function, Place) end, hooks()),
    %% One for the whole server: added with the first virtual host, deleted with the last.
    _ = [Do(Hook, global, ?MODULE, Hook, Place) || {Hook, Place} <- [{filter_packet, 20}, {config_reloaded, 90}], is_only(Host)],
    ok.

%% Whether no other virtual host has this module.
-spec is_only(binary()) -> boolean().
is_only(Host) ->
    not lists:any(fun(Other) -> Other /= Host andalso gen_mod:is_loaded(Other, ?MODULE) end, ejabberd_option:hosts()).

%% Hook, function, place: early where a stanza may be taken, before the session waits for what is still sent to it (100), behind
%% mod_roster (50) where its work has to be done.
-spec hooks() -> [{atom(), atom(), integer()}].
hooks() ->
    [{sm_receive_packet, sm_receive_packet, 10},
     {c2s_self_presence, c2s_self_presence, 60},
     {c2s_terminated, c2s_terminated, 90},
     {c2s_handle_info, c2s_handle_info, 40},
     {roster_in_subscription, roster_in_subscription, 90},
     {roster_out_subscription, roster_out_subscription, 90},
     {roster_process_item, roster_process_item, 90},
     {remove_user, remove_user, 50},
     {disco_sm_identity, disco_account_identity, 75},
     {disco_sm_features, disco_account_features, 75},
     {disco_local_identity, disco_domain_identity, 75},
     {disco_local_features, disco_domain_features, 75}].
