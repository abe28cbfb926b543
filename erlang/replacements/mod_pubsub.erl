%%% @doc mod_pubsub for the modules that ask for one, on the engine of mod_pam_pps.
%%%
%%% It stands in front of ejabberd's own (`-pa'). Its functions are those that modules of ejabberd and of ejabberd-contrib call;
%%% each is a request like those on the wire, made inside the server. Options are accepted as ejabberd's own takes them, so
%%% that a configuration need not be changed; what they are worth to mod_pam_pps is said in the log and in the README.
-module(mod_pubsub).
-behaviour(gen_mod).

%% gen_mod
-export([start/2, stop/1, reload/3, depends/2, mod_opt_type/1, mod_options/1, mod_doc/0]).
%% for other modules
-export([create_node/5, create_node/7, delete_node/3, subscribe_node/5, unsubscribe_node/5, publish_item/6, publish_item/8,
	 delete_item/4, delete_item/5, get_items/2, get_item/3, get_configure/5, set_configure/5, tree_action/3, node_action/4,
	 service_jid/1, serverhost/1, plugins/1, config/3]).
-export_type([host/0, nodeId/0, nodeIdx/0, itemId/0, subId/0, payload/0, nodeOptions/0, subOptions/0, pubOptions/0, affiliation/0,
	      subscription/0, accessModel/0, publishModel/0, pubsubNode/0, pubsubState/0, pubsubItem/0]).

-include("logger.hrl").
-include("xmpp.hrl").
-include("pubsub.hrl").
-include("translate.hrl").

-type payload() :: [] | [xmlel(), ...].
-type subscription() :: none | pending | unconfigured | subscribed.
-type pubsubNode() :: #pubsub_node{}.
-type pubsubState() :: #pubsub_state{}.
-type pubsubItem() :: #pubsub_item{}.
-type failure() :: {error, stanza_error()}.

%% Accepted, so that a configuration need not be changed; some are options of mod_pam_pps.
-define(WITHOUT_EFFECT,
	[access_createnode, append_module_config, default_node_config, force_node_config, ignore_pep_from_offline, last_item_cache,
	 max_item_expire_node, max_items_node, max_nodes_discoitems, max_subscriptions_node, name, nodetree, pep_mapping, plugins, vcard]).

%% Items asked for at once.
-define(PAGE, 500).

%%%===================================================================
%%% gen_mod
%%%===================================================================

-spec start(binary(), gen_mod:opts()) -> ok.
start(Host, Opts) ->
    _ = case [Name || Name <- ?WITHOUT_EFFECT, maps:get(Name, Opts) /= undefined] of
	    [] -> ok;
	    Names -> ?WARNING_MSG("Options of mod_pubsub have no effect here, mod_pam_pps has its own (~ts): ~0p", [Host, Names])
	end,
    %% Other modules ask for these names.
    case [Name || Name <- gen_mod:get_opt_hosts(Opts), pam_pps:domain(Name) /= {component, Host}] of
	[] -> ok;
	Unknown -> ?WARNING_MSG("Hosts of mod_pubsub are not among the services of mod_pam_pps (~ts): ~0p", [Host, Unknown])
    end.

-spec stop(binary()) -> ok.
stop(_Host) ->
    ok.

-spec reload(binary(), gen_mod:opts(), gen_mod:opts()) -> ok.
reload(Host, NewOpts, _OldOpts) ->
    start(Host, NewOpts).

-spec depends(binary(), gen_mod:opts()) -> [{module(), hard | soft}].
depends(_Host, _Opts) ->
    [{mod_pam_pps, hard}].

-spec mod_opt_type(atom()) -> econf:validator().
mod_opt_type(access_createnode) -> econf:acl();
mod_opt_type(db_type) -> econf:enum([mnesia, sql]);
mod_opt_type(host) -> econf:host();
mod_opt_type(hosts) -> econf:hosts();
mod_opt_type(vcard) -> econf:vcard_temp();
mod_opt_type(_) -> econf:any().

-spec mod_options(binary()) -> [{atom(), term()}].
mod_options(Host) ->
    [{host, <<"pubsub.", Host/binary>>}, {hosts, []} | [{Name, undefined} || Name <- [db_type | ?WITHOUT_EFFECT]]].

mod_doc() ->
    #{desc => [?T("'mod_pubsub' for the modules that depend on it, on the engine of _`mod_pam_pps`_, which has the options.")],
      opts => [{db_type, #{value => ?T("mnesia | sql"), desc => ?T("Where the data is that 'mod_pam_pps' takes over.")}},
	       {host, #{value => ?T("Host"), desc => ?T("Deprecated. Use 'hosts' instead.")}},
	       {hosts, #{value => ?T("[Host, ...]"), desc => ?T("The services of 'mod_pam_pps', for modules that ask for them.")}}
	       | [{Name, #{value => ?T("any"), desc => ?T("Accepted, but without effect; 'mod_pam_pps' has its own options.")}}
		  || Name <- ?WITHOUT_EFFECT]]}.

%%%===================================================================
%%% Nodes
%%%===================================================================

-spec create_node(host(), binary(), nodeId(), jid(), binary()) -> {result, term()} | failure().
create_node(Host, ServerHost, Node, Owner, Type) ->
    create_node(Host, ServerHost, Node, Owner, Type, all, []).

-spec create_node(host(), binary(), nodeId(), jid(), binary(), atom(), nodeOptions() | []) -> {result, term()} | failure().
create_node(Host, _ServerHost, Node, Owner, _Type, _Access, Options) ->
    Form = [form(?NS_PUBSUB_NODE_CONFIG, Options) || Options /= []],
    Create = el(<<"create">>, [{<<"node">>, Node} || Node /= <<>>], []),
    Configure = [el(<<"configure">>, [], Form) || Form /= []],
    result(ask(Host, Owner, set, ?NS_PUBSUB, [Create | Configure]), fun(Reply) -> {result, created(Reply, Node)} end).

-spec delete_node(host(), nodeId(), jid()) -> {result, undefined} | failure().
delete_node(Host, Node, Owner) ->
    done(ask(Host, Owner, set, ?NS_PUBSUB_OWNER, [el(<<"delete">>, [{<<"node">>, Node}], [])])).

-spec get_configure(host(), binary(), nodeId(), jid(), binary()) -> {result, pubsub_owner()} | failure().
get_configure(Host, _ServerHost, Node, From, _Lang) ->
    result(ask(Host, From, get, ?NS_PUBSUB_OWNER, [el(<<"configure">>, [{<<"node">>, Node}], [])]),
	   fun(#iq{sub_els = [El]}) -> {result, xmpp:decode(El, ?NS_CLIENT, [ignore_els])} end).

-spec set_configure(host(), nodeId(), jid(), nodeOptions(), binary()) -> {result, undefined} | failure().
set_configure(Host, Node, From, Config, _Lang) ->
    Form = form(?NS_PUBSUB_NODE_CONFIG, Config),
    done(ask(Host, From, set, ?NS_PUBSUB_OWNER, [el(<<"configure">>, [{<<"node">>, Node}], [Form])])).

%% @doc What modules ask of the tree of nodes.
-spec tree_action(host(), atom(), [term()]) -> term().
tree_action(Host, get_node, [_, Node | _]) ->
    case ask_privileged(Host, get, ?NS_PUBSUB_OWNER, [el(<<"configure">>, [{<<"node">>, Node}], [])]) of
	{ok, Reply} -> #pubsub_node{nodeid = {Host, Node}, id = Node, owners = [owner(Host)], options = options(Reply)};
	{error, _} = Error -> Error
    end;
tree_action(Host, Function, _Args) when Function == get_nodes; Function == get_subnodes ->
    case ask_privileged(Host, get, ?NS_DISCO_ITEMS, []) of
	{ok, #iq{sub_els = [#xmlel{children = Items}]}} ->
	    [#pubsub_node{nodeid = {Host, Node}, id = Node, owners = [owner(Host)]}
	     || #xmlel{name = <<"item">>} = Item <- Items, Node <- [fxml:get_tag_attr_s(<<"node">>, Item)], Node /= <<>>];
	{error, _} = Error -> Error
    end;
tree_action(_Host, _Function, _Args) ->
    {error, xmpp:err_feature_not_implemented()}.

%% @doc What modules ask of a node's plugin: there is none, so only what can be asked otherwise as well.
-spec node_action(host(), binary(), atom(), [term()]) -> {result, term()} | failure().
node_action(Host, _Type, get_item, [Node, Id | _]) ->
    case get_item(Host, Node, Id) of
	#pubsub_item{} = Item -> {result, Item};
	{error, _} = Error -> Error
    end;
node_action(Host, _Type, get_items, [Node | _]) ->
    case get_items(Host, Node) of
	{error, _} = Error -> Error;
	Items -> {result, {Items, undefined}}
    end;
node_action(_Host, _Type, _Function, _Args) ->
    {error, xmpp:err_feature_not_implemented()}.

%%%===================================================================
%%% Items
%%%===================================================================

-spec publish_item(host(), binary(), nodeId(), jid(), itemId(), payload()) -> {result, pubsub()} | failure().
publish_item(Host, ServerHost, Node, Publisher, Id, Payload) ->
    publish_item(Host, ServerHost, Node, Publisher, Id, Payload, [], all).

-spec publish_item(host(), binary(), nodeId(), jid(), itemId(), payload(), pubOptions(), atom()) -> {result, pubsub()} | failure().
publish_item(Host, ServerHost, Node, Publisher, Id, Payload, Options, Access) ->
    case publish(Host, Node, Publisher, Id, Payload, Options) of
	%% Modules rely on a service to make what they publish to, whoever else has to ask for it.
	{error, #stanza_error{reason = 'item-not-found'}} = Missing when is_binary(Host) ->
	    case create_node(Host, ServerHost, Node, Publisher, <<"flat">>, Access, Options) of
		{result, _} -> publish(Host, Node, Publisher, Id, Payload, Options);
		{error, _} -> Missing
	    end;
	Answer -> Answer
    end.

-spec publish(host(), nodeId(), jid(), itemId(), payload(), pubOptions()) -> {result, pubsub()} | failure().
publish(Host, Node, Publisher, Id, Payload, Options) ->
    Item = el(<<"item">>, [{<<"id">>, Id} || Id /= <<>>], Payload),
    Publish = el(<<"publish">>, [{<<"node">>, Node}], [Item]),
    Wanted = [el(<<"publish-options">>, [], [form(?NS_PUBSUB_PUBLISH_OPTIONS, Options)]) || Options /= []],
    result(ask(Host, Publisher, set, ?NS_PUBSUB, [Publish | Wanted]),
	   fun(Reply) -> {result, #pubsub{publish = #ps_publish{node = Node, items = [#ps_item{id = published(Reply, Id)}]}}} end).

-spec delete_item(host(), nodeId(), jid(), itemId()) -> {result, undefined} | failure().
delete_item(Host, Node, Publisher, Id) ->
    delete_item(Host, Node, Publisher, Id, false).

-spec delete_item(host(), nodeId(), jid(), itemId(), boolean()) -> {result, undefined} | failure().
delete_item(Host, Node, Publisher, Id, Notify) ->
    Attrs = [{<<"node">>, Node} | [{<<"notify">>, <<"true">>} || Notify]],
    done(ask(Host, Publisher, set, ?NS_PUBSUB, [el(<<"retract">>, Attrs, [el(<<"item">>, [{<<"id">>, Id}], [])])])).

%% @doc All items, newest first.
-spec get_items(host(), nodeId()) -> [pubsubItem()] | failure().
get_items(Host, Node) ->
    get_items(Host, Node, <<>>, []).

-spec get_item(host(), nodeId(), itemId()) -> pubsubItem() | failure().
get_item(Host, Node, Id) ->
    Items = el(<<"items">>, [{<<"node">>, Node}], [el(<<"item">>, [{<<"id">>, Id}], [])]),
    case ask_privileged(Host, get, ?NS_PUBSUB, [Items]) of
	{ok, Reply} ->
	    case items(Reply, Host, Node) of
		[Item | _] -> Item;
		[] -> {error, xmpp:err_item_not_found()}
	    end;
	{error, _} = Error -> Error
    end.

%%%===================================================================
%%% Subscriptions
%%%===================================================================

-spec subscribe_node(host(), nodeId(), jid(), jid(), subOptions()) -> {result, term()} | failure().
subscribe_node(Host, Node, From, Subscriber, Options) ->
    Subscribe = el(<<"subscribe">>, [{<<"node">>, Node}, {<<"jid">>, jid:encode(Subscriber)}], []),
    Wanted = [el(<<"options">>, [], [form(?NS_PUBSUB_SUB_OPTIONS, Options)]) || Options /= []],
    result(ask(Host, From, set, ?NS_PUBSUB, [Subscribe | Wanted]),
	   fun(#iq{sub_els = [El]}) -> {result, xmpp:decode(El, ?NS_CLIENT, [ignore_els])} end).

-spec unsubscribe_node(host(), nodeId(), jid(), jid(), subId()) -> {result, undefined} | failure().
unsubscribe_node(Host, Node, From, Subscriber, SubId) ->
    Attrs = [{<<"node">>, Node}, {<<"jid">>, jid:encode(Subscriber)} | [{<<"subid">>, SubId} || SubId /= <<>>, is_binary(SubId)]],
    done(ask(Host, From, set, ?NS_PUBSUB, [el(<<"unsubscribe">>, Attrs, [])])).

%%%===================================================================
%%% Helpers for other modules
%%%===================================================================

-spec service_jid(jid() | host()) -> jid().
service_jid(#jid{} = Jid) -> Jid;
service_jid({_, _, _} = Account) -> #jid{} = jid:make(Account);
service_jid(Domain) -> #jid{} = jid:make(Domain).

-spec serverhost(host()) -> binary().
serverhost({_User, Server, _Resource}) -> Server;
serverhost(Domain) -> ejabberd_router:host_of_route(Domain).

-spec plugins(host()) -> [binary()].
plugins(_Host) -> [<<"flat">>, <<"pep">>].

-spec config(host(), atom(), T) -> T.
config(_Host, _Key, Default) -> Default.

%%%===================================================================
%%% Internal functions
%%%===================================================================

-spec ask(host(), jid(), get | set, binary(), [xmlel()]) -> {ok, iq()} | failure().
ask(Host, From, Type, NS, Els) ->
    ask(Host, From, Type, NS, Els, false).

%% As an owner of every node.
-spec ask_privileged(host(), get | set, binary(), [xmlel()]) -> {ok, iq()} | failure().
ask_privileged(Host, Type, NS, Els) ->
    ask(Host, jid:remove_resource(service_jid(Host)), Type, NS, Els, true).

-spec ask(host(), jid(), get | set, binary(), [xmlel()], boolean()) -> {ok, iq()} | failure().
ask(Host, From, Type, NS, Els, Privileged) ->
    Name = case NS of
	       ?NS_DISCO_ITEMS -> <<"query">>;
	       _ -> <<"pubsub">>
	   end,
    IQ = #iq{type = Type, from = From, to = jid:remove_resource(service_jid(Host)), sub_els = [el(Name, [{<<"xmlns">>, NS}], Els)]},
    case pam_pps:ask(IQ, Privileged) of
	{ok, #iq{type = result} = Reply, Events} ->
	    pam_pps_events:run(Events),
	    {ok, Reply};
	{ok, #iq{type = error} = Reply, Events} ->
	    pam_pps_events:run(Events),
	    {error, xmpp:get_error(Reply)};
	{error, Reason} ->
	    ?ERROR_MSG("No answer from ~p: ~p", [Host, Reason]),
	    {error, xmpp:err_internal_server_error()}
    end.

-spec result({ok, iq()} | failure(), fun((iq()) -> T)) -> T | failure().
result({ok, Reply}, F) -> F(Reply);
result({error, _} = Error, _F) -> Error.

-spec done({ok, iq()} | failure()) -> {result, undefined} | failure().
done(Answer) ->
    result(Answer, fun(_) -> {result, undefined} end).

-spec el(binary(), [{binary(), binary()}], [xmlel()]) -> xmlel().
el(Name, Attrs, Children) ->
    #xmlel{name = Name, attrs = Attrs, children = Children}.

%% [{access_model, whitelist}, {persist_items, true}, ...] as a submitted form.
-spec form(binary(), [{atom(), term()}]) -> xmlel().
form(Type, Options) ->
    Fields = [#xdata_field{var = <<"FORM_TYPE">>, type = hidden, values = [Type]}
	      | [#xdata_field{var = <<"pubsub#", (atom_to_binary(Name, utf8))/binary>>, values = values(Value)}
		 || {Name, Value} <- Options]],
    xmpp:encode(#xdata{type = submit, fields = Fields}).

-spec values(term()) -> [binary()].
values(true) -> [<<"1">>];
values(false) -> [<<"0">>];
values(Value) when is_atom(Value) -> [binary:replace(atom_to_binary(Value, utf8), <<"publish_only">>, <<"publish-only">>)];
values(Value) when is_integer(Value) -> [integer_to_binary(Value)];
values(Value) when is_binary(Value) -> [Value];
values(Values) when is_list(Values) -> lists:flatmap(fun values/1, Values).

-spec created(iq(), nodeId()) -> pubsub().
created(#iq{sub_els = [El]}, Node) ->
    case fxml:get_path_s(El, [{elem, <<"create">>}, {attr, <<"node">>}]) of
	<<>> -> #pubsub{create = Node};
	Name -> #pubsub{create = Name}
    end;
created(_, Node) ->
    #pubsub{create = Node}.

-spec published(iq(), itemId()) -> itemId().
published(#iq{sub_els = [El]}, Id) ->
    case fxml:get_path_s(El, [{elem, <<"publish">>}, {elem, <<"item">>}, {attr, <<"id">>}]) of
	<<>> -> Id;
	Name -> Name
    end;
published(_, Id) ->
    Id.

%% Pages from the newest on.
-spec get_items(host(), nodeId(), binary(), [[pubsubItem()]]) -> [pubsubItem()] | failure().
get_items(Host, Node, Before, Pages) ->
    Set = #rsm_set{max = ?PAGE, before = Before},
    Els = [el(<<"items">>, [{<<"node">>, Node}], []), xmpp:encode(Set)],
    case ask_privileged(Host, get, ?NS_PUBSUB, Els) of
	{ok, #iq{sub_els = [El]} = Reply} ->
	    Page = items(Reply, Host, Node),
	    Sorted = [lists:reverse(Page) | Pages],
	    case fxml:get_path_s(El, [{elem, <<"set">>}, {elem, <<"first">>}, cdata]) of
		First when First /= <<>>, length(Page) >= ?PAGE -> get_items(Host, Node, First, Sorted);
		_ -> lists:append(lists:reverse(Sorted))
	    end;
	{error, _} = Error -> Error
    end.

-spec items(iq(), host(), nodeId()) -> [pubsubItem()].
items(#iq{sub_els = [#xmlel{} = El]}, Host, Node) ->
    #xmlel{children = Children} = fxml:get_subtag(El, <<"items">>),
    [item(Item, Host, Node) || #xmlel{name = <<"item">>} = Item <- Children].

%% When an item was made is not said on the wire: both times are the same for all items of an answer.
-spec item(xmlel(), host(), nodeId()) -> pubsubItem().
item(#xmlel{children = Children} = Item, Host, Node) ->
    Time = {erlang:timestamp(), publisher(fxml:get_tag_attr_s(<<"publisher">>, Item), Host)},
    #pubsub_item{itemid = {fxml:get_tag_attr_s(<<"id">>, Item), Node}, nodeidx = Node, creation = Time, modification = Time,
		 payload = [El || #xmlel{} = El <- Children]}.

-spec publisher(binary(), host()) -> jid:ljid().
publisher(<<>>, Host) -> owner(Host);
publisher(Jid, _Host) -> jid:tolower(jid:decode(Jid)).

-spec owner(host()) -> jid:ljid().
owner(Host) ->
    jid:tolower(jid:remove_resource(service_jid(Host))).

-spec options(iq()) -> nodeOptions().
options(#iq{sub_els = [El]}) ->
    #pubsub_owner{configure = {_, #xdata{fields = Fields}}} = xmpp:decode(El, ?NS_CLIENT, []),
    known_options(Fields).

%% The server's own table of options lacks some, or some of their values.
-spec known_options([xdata_field()]) -> nodeOptions().
known_options(Fields) ->
    try pubsub_node_config:decode(Fields)
    catch error:{pubsub_node_config, {Problem, Var, _}} when Problem == unknown_var; Problem == bad_var_value ->
	    known_options([Field || #xdata_field{var = Name} = Field <- Fields, Name /= Var])
    end.
