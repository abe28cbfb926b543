%%% @doc What only the server knows: accounts, rosters, administrators, block lists, data of the module that was there before.
-module(pam_pps_facts).

-export([answer/1, is_admin/2]).

-include("logger.hrl").
-include("xmpp.hrl").

%% @doc A fact that the engine needs. If it cannot be found out, the one that allows less.
-spec answer(pam_pps_nif:decision()) -> pam_pps_nif:fact().
answer({need, roster, Owner, Contact}) ->
    {Subscription, Groups} = protected({roster, Owner, Contact}, {none, []}),
    {roster, Owner, Contact, Subscription, Groups};
answer({need, blocked, Owner, Contact}) ->
    {blocked, Owner, Contact, protected({blocked, Owner, Contact}, true)};
answer({need, room, Who, Room}) ->
    {Affiliation, Voice} = protected({room, Who, Room}, {none, false}),
    {room, Who, Room, Affiliation, Voice};
answer({need, room_info, Room, _}) ->
    {Name, Description, Subject} = protected({room_info, Room, <<>>}, {<<>>, <<>>, <<>>}),
    {room_info, Room, Name, Description, Subject};
answer({need, Kind, Jid, Other}) ->
    {Kind, Jid, Other, protected({Kind, Jid, Other}, false)}.

%% @doc Whether somebody administers a virtual host: the rule that the server's own modules go by.
-spec is_admin(binary(), jid()) -> boolean().
is_admin(ServerHost, Jid) ->
    acl:match_rule(ServerHost, configure, jid:remove_resource(Jid)) == allow.

%%%===================================================================
%%% Internal functions
%%%===================================================================

-spec protected({pam_pps_nif:need(), binary(), binary()}, T) -> T.
protected(Question, Default) ->
    try find(Question)
    catch Class:Reason:Stack ->
	    ?ERROR_MSG("No answer about ~p:~n** ~ts", [Question, misc:format_exception(2, Class, Reason, Stack)]),
	    Default
    end.

-spec find({pam_pps_nif:need(), binary(), binary()}) ->
	  boolean() | {none | to | from | both, [binary()]} | pam_pps_rooms:standing() | pam_pps_rooms:info().
find({account, Account, _}) ->
    #jid{luser = User, lserver = Server} = pam_pps_jid:decode(Account),
    User /= <<>> andalso pam_pps:domain(Server) /= undefined andalso ejabberd_auth:user_exists(User, Server);
find({roster, Owner, Contact}) ->
    #jid{luser = User, lserver = Server} = pam_pps_jid:decode(Owner),
    {Subscription, _Ask, Groups} =
	ejabberd_hooks:run_fold(roster_get_jid_info, Server, {none, none, []}, [User, Server, pam_pps_jid:decode(Contact)]),
    {subscription(Subscription), lists:usort(Groups)};
find({admin, Who, Service}) ->
    #jid{lserver = Domain} = pam_pps_jid:decode(Service),
    case pam_pps:domain(Domain) of
	{_, ServerHost} -> is_admin(ServerHost, pam_pps_jid:decode(Who));
	undefined -> false
    end;
find({blocked, Owner, Contact}) ->
    #jid{lserver = Server} = To = pam_pps_jid:decode(Owner),
    Message = #message{from = pam_pps_jid:decode(Contact), to = To},
    ejabberd_hooks:run_fold(privacy_check_packet, Server, allow, [To, Message, in]) == deny;
find({room, Who, Room}) ->
    pam_pps_rooms:standing(pam_pps_jid:decode(Who), pam_pps_jid:decode(Room));
find({room_info, Room, _}) ->
    pam_pps_rooms:info(pam_pps_jid:decode(Room));
find({import, Service, _}) ->
    pam_pps_import:import(Service).

-spec subscription(atom()) -> none | to | from | both.
subscription(Subscription) when Subscription == to; Subscription == from; Subscription == both -> Subscription;
subscription(_) -> none.
