%%% @doc Presence that was sent before the module was there: the server's own sessions are shown to the engine, contacts
%%% elsewhere are asked, as for a client that logs in (RFC 6121, section 4.3.1).
-module(pam_pps_presence).

-export([start/1, show/3]).
%% spawned
-export([catch_up/1]).

-include("xmpp.hrl").

%% Sessions between two breaks, and how long these are, in milliseconds.
-define(BATCH, 100).
-define(BREAK, 5).

%% @doc Shows what there is to a virtual host, in a process of its own.
-spec start(binary()) -> ok.
start(Host) ->
    case ejabberd_sm:dirty_get_my_sessions_list() of
	[] -> ok;
	_ ->
	    _ = spawn(?MODULE, catch_up, [Host]),
	    ok
    end.

%% @doc Shows a session's presence to its own account, or to another one.
-spec show(presence(), jid(), jid() | undefined) -> ok.
show(Presence, Session, To) ->
    Lane = jid:encode(jid:tolower(jid:remove_resource(case To of undefined -> Session; _ -> To end))),
    Shown = Presence#presence{from = Session, to = To},
    _ = pam_pps:submit(stanza, Lane, xmpp:encode(Shown)),
    ok.

-spec catch_up(binary()) -> ok.
catch_up(Host) ->
    Sessions = [Session || {_, _, _} = Session <- ejabberd_sm:dirty_get_sessions_list()],
    _ = lists:foldl(fun(Session, Done) -> session(Session, Host, Done) end, {0, #{}}, Sessions),
    ok.

%%%===================================================================
%%% Internal functions
%%%===================================================================

%% How many sessions were looked at, and which contacts were asked on whose behalf.
-spec session(jid:ljid(), binary(), {non_neg_integer(), map()}) -> {non_neg_integer(), map()}.
session({User, Server, Resource}, Host, {Count, Probed}) ->
    _ = [timer:sleep(?BREAK) || Count rem ?BATCH == ?BATCH - 1],
    Jid = jid:make(User, Server, Resource),
    case presence_of(User, Server, Resource) of
	undefined -> {Count + 1, Probed};
	Presence ->
	    _ = [show(Presence, Jid, undefined) || Server == Host],
	    Contacts = ejabberd_hooks:run_fold(roster_get, Server, [], [{User, Server}]),
	    {Count + 1, lists:foldl(fun(Item, Acc) -> contact(Item, Presence, Jid, Host, Acc) end, Probed, Contacts)}
    end.

-spec presence_of(binary(), binary(), binary()) -> presence() | undefined.
presence_of(User, Server, Resource) ->
    case ejabberd_sm:get_session_pid(User, Server, Resource) of
	Pid when is_pid(Pid), node(Pid) == node() ->
	    try ejabberd_c2s:get_presence(Pid) of
		#presence{type = available} = Presence -> Presence;
		_ -> undefined
	    catch _:_ -> undefined
	    end;
	_ -> undefined
    end.

-spec contact(roster_item(), presence(), jid(), binary(), map()) -> map().
contact(#roster_item{jid = #jid{lserver = Host} = Contact, subscription = Subscription}, Presence, Jid, Host, Probed)
  when Subscription == both; Subscription == from ->
    show(Presence, Jid, jid:remove_resource(Contact)),
    Probed;
contact(#roster_item{jid = #jid{lserver = Other} = Contact, subscription = Subscription}, _Presence, #jid{lserver = Host} = Jid,
	Host, Probed) when Other /= Host, Subscription == both orelse Subscription == to ->
    Account = jid:remove_resource(Jid),
    Asked = {jid:tolower(Account), jid:tolower(Contact)},
    case ejabberd_router:is_my_host(Other) orelse maps:is_key(Asked, Probed) of
	true -> Probed;
	false ->
	    ejabberd_router:route(#presence{type = probe, from = Account, to = Contact}),
	    Probed#{Asked => true}
    end;
contact(_Item, _Presence, _Jid, _Host, Probed) ->
    Probed.
