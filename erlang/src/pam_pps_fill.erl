%%% @doc Lets modules of the server fill a node before its owner uses it: the hook pubsub_tree_call of ejabberd 23.10 and later.
%%%
%%% mod_private makes the node of bookmarks from private storage when it is looked for and is not there. A publish that made
%%% the node first would leave the older bookmarks behind, so this is done before the engine sees the request, in the process
%%% of the session: what the session sends next waits for it. Once in a session is enough.
-module(pam_pps_fill).

-export([before/1]).
%% for those who listen to the hook
-export([get_node/2]).

-include("xmpp.hrl").

-define(NODE, <<"urn:xmpp:bookmarks:1">>).

-spec before(iq()) -> ok.
before(#iq{from = #jid{luser = User, lserver = Server, lresource = Resource}, to = #jid{luser = User, lserver = Server},
	   sub_els = [El]}) when Resource /= <<>> ->
    case get(?MODULE) == undefined andalso is_about(El) andalso is_wanted(Server) of
	true ->
	    put(?MODULE, done),
	    fill({User, Server, <<>>});
	false -> ok
    end;
before(_) ->
    ok.

-spec get_node(jid:ljid(), binary()) -> term().
get_node(Account, Node) ->
    mod_pubsub:tree_action(Account, get_node, [Account, Node]).

%%%===================================================================
%%% Internal functions
%%%===================================================================

-spec is_about(xmpp_element() | xmlel()) -> boolean().
is_about(#xmlel{name = <<"pubsub">>, children = Children}) ->
    lists:any(fun(Child) -> is_record(Child, xmlel) andalso fxml:get_tag_attr_s(<<"node">>, Child) == ?NODE end, Children);
is_about(_) ->
    false.

%% mod_pubsub is the one of this project, or none: ejabberd's own has no such node.
-spec is_wanted(binary()) -> boolean().
is_wanted(Server) ->
    gen_mod:is_loaded(Server, mod_pubsub) andalso ets:lookup(hooks, {pubsub_tree_call, Server}) /= [].

-spec fill(jid:ljid()) -> ok.
fill({_, Server, _} = Account) ->
    _ = case get_node(Account, ?NODE) of
	    {error, _} = Missing ->
		ejabberd_hooks:run_fold(pubsub_tree_call, Server, Missing, [?MODULE, get_node, [Account, ?NODE]]);
	    _ -> ok
	end,
    ok.
