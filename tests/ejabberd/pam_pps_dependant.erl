%%% @doc For tests: does with mod_pubsub what modules of ejabberd-contrib do with it. Never part of a distribution.
-module(pam_pps_dependant).
-behaviour(gen_mod).

-export([start/2, stop/1, depends/2, mod_options/1, mod_doc/0, user_send_packet/1, entries/1, decode_iq_subel/1]).

-include("xmpp.hrl").
-include("pubsub.hrl").

-define(NS, <<"urn:x:dependant">>).
-define(DENIED, <<"urn:x:denied">>).

%% As mod_pubsub_serverinfo: the domain itself publishes, again and again, with options.
start(Host, _Opts) ->
    gen_iq_handler:add_iq_handler(ejabberd_local, Host, ?NS, ?MODULE, entries),
    ejabberd_hooks:add(user_send_packet, Host, ?MODULE, user_send_packet, 50),
    [] = gen_mod:get_module_opt(Host, mod_pubsub, hosts),
    Service = gen_mod:get_module_opt(Host, mod_pubsub, host),
    Options = [{persist_items, true}, {max_items, 1}, {access_model, open}],
    _ = [{result, _} = mod_pubsub:publish_item(Service, Host, <<"serverinfo">>, jid:make(Host), <<"current">>, [payload(Name)], Options, all)
	 || Name <- [<<"first">>, <<"second">>]],
    ok.

stop(Host) ->
    ejabberd_hooks:delete(user_send_packet, Host, ?MODULE, user_send_packet, 50),
    gen_iq_handler:remove_iq_handler(ejabberd_local, Host, ?NS).

depends(_Host, _Opts) -> [{mod_pubsub, hard}].
mod_options(_Host) -> [].
mod_doc() -> #{desc => [], opts => []}.

payload(Name) ->
    #xmlel{name = Name, attrs = [{<<"xmlns">>, ?NS}]}.

%% As mod_deny_omemo: in the session, before the packet goes anywhere, nodes are deleted, whether or not they are there.
user_send_packet({#iq{type = set, sub_els = [#xmlel{name = <<"pubsub">>} = El]} = IQ, #{jid := Jid} = State} = Acc) ->
    case fxml:get_path_s(El, [{elem, <<"publish">>}, {attr, <<"node">>}]) of
	?DENIED ->
	    Account = jid:remove_resource(jid:tolower(Jid)),
	    _ = [mod_pubsub:delete_node(Account, Node, Jid) || Node <- [?DENIED, <<?DENIED/binary, ":bundle">>]],
	    ejabberd_router:route_error(IQ, xmpp:err_policy_violation()),
	    {stop, {drop, State}};
	_ -> Acc
    end;
user_send_packet(Acc) ->
    Acc.

%% As atom_pubsub would: lists, reads and deletes on behalf of somebody.
entries(#iq{from = #jid{lserver = Host} = From, lang = Lang} = IQ) ->
    Service = gen_mod:get_module_opt(Host, mod_pubsub, host),
    Owner = jid:remove_resource(From),
    {result, _} = mod_pubsub:create_node(Service, Host, <<"entries">>, Owner, <<"flat">>, all, [{access_model, whitelist}]),
    _ = [{result, _} = mod_pubsub:publish_item(Service, Host, <<"entries">>, Owner, Id, [payload(<<"entry">>)]) || Id <- [<<"1">>, <<"2">>]],
    Nodes = mod_pubsub:tree_action(Service, get_subnodes, [Service, <<>>, Owner]),
    Checks =
	[{<<"nodes">>, lists:member(<<"entries">>, [Node || #pubsub_node{nodeid = {_, Node}} <- Nodes])},
	 {<<"node">>, is_record(mod_pubsub:tree_action(Service, get_node, [Service, <<"entries">>]), pubsub_node)},
	 {<<"missing">>, element(1, mod_pubsub:tree_action(Service, get_node, [Service, <<"nothing">>])) == error},
	 {<<"items">>, [Id || #pubsub_item{itemid = {Id, _}} <- mod_pubsub:get_items(Service, <<"entries">>)] == [<<"2">>, <<"1">>]},
	 {<<"item">>, element(1, mod_pubsub:node_action(Service, <<"flat">>, get_item, [<<"entries">>, <<"1">>])) == result},
	 {<<"deleted">>, mod_pubsub:delete_item(Service, <<"entries">>, Owner, <<"1">>) == {result, undefined}
	  andalso length(mod_pubsub:get_items(Service, <<"entries">>)) == 1}],
    {result, _} = mod_pubsub:delete_node(Service, <<"entries">>, Owner),
    case [Name || {Name, true} <- Checks] of
	[] -> xmpp:make_error(IQ, xmpp:err_internal_server_error(<<"nothing works">>, Lang));
	Names ->
	    Entries = [#xmlel{name = <<"entry">>, children = [{xmlcdata, Name}]} || Name <- Names],
	    xmpp:make_iq_result(IQ, #xmlel{name = <<"entries">>, attrs = [{<<"xmlns">>, ?NS}], children = Entries})
    end.

%% The server does not know these elements.
decode_iq_subel(El) ->
    El.
