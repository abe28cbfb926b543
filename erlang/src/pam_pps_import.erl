%%% @doc Takes over what mod_pubsub kept, from mnesia or from SQL, by ejabberd's own functions for both. What was there stays
%%% where it was.
-module(pam_pps_import).

-export([import/1, import_host/1, forget/0]).

-include("logger.hrl").
-include("xmpp.hrl").
-include("pubsub.hrl").

-define(NS_IMPORT, <<"urn:pam_pps:import:1">>).
%% Services with nodes in mnesia, so that not every account has the table looked through.
-define(OLD, {?MODULE, old}).

%% @doc The answer to the engine's question: true when there is nothing (more) to take over.
-spec import(binary()) -> boolean().
import(Service) ->
    #jid{lserver = Domain} = Jid = jid:decode(Service),
    {_, ServerHost} = pam_pps:domain(Domain),
    Backend = backend(ServerHost),
    case read(Backend, ServerHost, host(Jid)) of
	[] -> true;
	Nodes -> hand_over(Service, Nodes)
    end.

%% @doc All services of a virtual host: how many, and how many could not be taken over.
-spec import_host(binary()) -> {non_neg_integer(), non_neg_integer()}.
import_host(ServerHost) ->
    Accounts = [jid:encode({User, Server, <<>>}) || {User, Server} <- ejabberd_auth:get_users(ServerHost)],
    Services = [Domain || {Domain, component} <- pam_pps:domains(ServerHost)] ++ Accounts,
    {length(Services), length([Service || Service <- Services, not touch(Service)])}.

%% @doc Another module may write to the old tables from now on.
-spec forget() -> ok.
forget() ->
    _ = persistent_term:erase(?OLD),
    ok.

%%%===================================================================
%%% Internal functions
%%%===================================================================

%% The first request to a service takes its data over.
-spec touch(binary()) -> boolean().
touch(Service) ->
    Jid = jid:decode(Service),
    Query = #xmlel{name = <<"query">>, attrs = [{<<"xmlns">>, ?NS_DISCO_ITEMS}]},
    case pam_pps:ask(#iq{type = get, from = Jid, to = Jid, sub_els = [Query]}, true) of
	{ok, #iq{type = result}, _} -> true;
	_ -> false
    end.

-spec hand_over(binary(), [xmlel()]) -> boolean().
hand_over(Service, Nodes) ->
    Document = #xmlel{name = <<"import">>, attrs = [{<<"xmlns">>, ?NS_IMPORT}, {<<"service">>, Service}], children = Nodes},
    case pam_pps:import(Document) of
	{ok, <<"<imported", _/binary>> = Reply} ->
	    #xmlel{} = El = pam_pps_nif:element(Reply),
	    ?INFO_MSG("Took over the data of ~ts: ~ts nodes, ~ts items, ~ts subscriptions",
		      [Service | [fxml:get_tag_attr_s(Name, El) || Name <- [<<"nodes">>, <<"items">>, <<"subscriptions">>]]]),
	    true;
	Other ->
	    ?ERROR_MSG("The old data of ~ts could not be taken over, it will be tried again: ~p", [Service, Other]),
	    false
    end.

%% Where mod_pubsub had its data: its own option, or the server's.
-spec backend(binary()) -> mnesia | sql.
backend(ServerHost) ->
    Own = case gen_mod:is_loaded(ServerHost, mod_pubsub) of
	      true -> gen_mod:get_module_opt(ServerHost, mod_pubsub, db_type);
	      false -> undefined
	  end,
    case Own of
	undefined -> ejabberd_option:default_db(ServerHost);
	_ -> Own
    end.

-spec host(jid()) -> binary() | jid:ljid().
host(#jid{luser = <<>>, lserver = Domain}) -> Domain;
host(Jid) -> jid:tolower(jid:remove_resource(Jid)).

-spec read(mnesia | sql, binary(), binary() | jid:ljid()) -> [xmlel()].
read(mnesia, _ServerHost, Host) ->
    case maps:is_key(Host, old_services()) of
	true ->
	    Read = fun() -> [build(mnesia, Node) || Node <- nodetree_tree:get_nodes(Host)] end,
	    mnesia:activity(sync_dirty, Read);
	false -> []
    end;
read(sql, ServerHost, Host) ->
    {atomic, Nodes} = ejabberd_sql:sql_transaction(
			ServerHost, fun() -> [build(sql, Node) || Node <- nodetree_tree_sql:get_nodes(Host)] end),
    Nodes.

-spec old_services() -> #{binary() | jid:ljid() => true}.
old_services() ->
    case persistent_term:get(?OLD, undefined) of
	undefined ->
	    Services = case lists:member(pubsub_node, mnesia:system_info(tables)) of
			   true ->
			       ok = mnesia:wait_for_tables([pubsub_node, pubsub_state, pubsub_item], infinity),
			       maps:from_list([{Host, true} || {Host, _} <- mnesia:dirty_all_keys(pubsub_node)]);
			   false -> #{}
		       end,
	    persistent_term:put(?OLD, Services),
	    Services;
	Services -> Services
    end.

-spec build(mnesia | sql, #pubsub_node{}) -> xmlel().
build(Backend, #pubsub_node{nodeid = {Host, Name}, id = Nidx, owners = Owners, options = Options}) ->
    {States, Items} = contents(Backend, Nidx),
    Owner = [affiliation(Jid, owner) || Jid <- Owners],
    Others = [affiliation(Jid, Affiliation)
	      || #pubsub_state{stateid = {Jid, _}, affiliation = Affiliation} <- States, Affiliation /= none,
		 not (Affiliation == owner andalso lists:member(Jid, Owners))],
    Subscriptions = [subscription(Backend, Jid, Nidx, Subscription)
		     || #pubsub_state{stateid = {Jid, _}, subscriptions = All} <- States, Subscription <- All],
    Sorted = lists:keysort(#pubsub_item.modification, Items),
    #xmlel{name = <<"node">>, attrs = [{<<"xmlns">>, ?NS_IMPORT}, {<<"name">>, Name}],
	   children = [form(?NS_PUBSUB_NODE_CONFIG, wishes(Host, Options)) | Owner ++ Others ++ Subscriptions ++ lists:map(fun item/1, Sorted)]}.

%% Every node of an account had presence_based_delivery, and it meant whoever is online on this server. Here it means whoever
%% shows the account his presence: a subscriber who is no contact would hear nothing any more.
-spec wishes(binary() | jid:ljid(), [{atom(), term()}]) -> [{atom(), term()}].
wishes({_, _, _}, Options) -> lists:keydelete(presence_based_delivery, 1, Options);
wishes(_Domain, Options) -> Options.

-spec contents(mnesia | sql, term()) -> {[#pubsub_state{}], [#pubsub_item{}]}.
contents(mnesia, Nidx) ->
    {result, States} = node_flat:get_states(Nidx),
    {result, {Items, _}} = node_flat:get_items(Nidx, undefined, undefined),
    {States, Items};
contents(sql, Nidx) ->
    {result, States} = node_flat_sql:get_states(Nidx),
    {result, {Items, _}} = node_flat_sql:get_items(Nidx, undefined, undefined),
    {States, Items}.

-spec affiliation(jid:ljid(), atom()) -> xmlel().
affiliation(Jid, Affiliation) ->
    #xmlel{name = <<"affiliation">>, attrs = [{<<"jid">>, jid:encode(jid:remove_resource(Jid))}, {<<"affiliation">>, word(Affiliation)}]}.

-spec subscription(mnesia | sql, jid:ljid(), term(), {atom(), binary()}) -> xmlel().
subscription(Backend, Jid, Nidx, {State, SubId}) ->
    #xmlel{name = <<"subscription">>, attrs = [{<<"jid">>, jid:encode(Jid)}, {<<"subscription">>, word(State)}],
	   children = [form(?NS_PUBSUB_SUB_OPTIONS, Options) || Options <- [options(Backend, Jid, Nidx, SubId)], Options /= []]}.

-spec options(mnesia | sql, jid:ljid(), term(), binary()) -> [{atom(), term()}].
options(Backend, Jid, Nidx, SubId) ->
    Module = case Backend of
		 mnesia -> pubsub_subscription;
		 sql -> pubsub_subscription_sql
	     end,
    try Module:get_subscription(Jid, Nidx, SubId) of
	{result, #pubsub_subscription{options = Options}} -> Options;
	_ -> []
    catch _:_ -> []
    end.

-spec item(#pubsub_item{}) -> xmlel().
item(#pubsub_item{itemid = {Id, _}, modification = {Time, Publisher}, payload = Payload}) ->
    Published = xmpp_util:encode_timestamp(Time),
    #xmlel{name = <<"item">>, children = lists:map(fun with_namespace/1, [El || #xmlel{} = El <- Payload]),
	   attrs = [{<<"id">>, Id}, {<<"publisher">>, jid:encode(Publisher)}, {<<"published">>, Published}]}.

%% An element without a namespace had that of the item around it.
-spec with_namespace(xmlel()) -> xmlel().
with_namespace(#xmlel{attrs = Attrs} = El) ->
    case lists:keymember(<<"xmlns">>, 1, Attrs) of
	true -> El;
	false -> El#xmlel{attrs = [{<<"xmlns">>, ?NS_PUBSUB} | Attrs]}
    end.

-spec form(binary(), [{atom(), term()}]) -> xmlel().
form(Type, Options) ->
    Fields = [#xdata_field{var = <<"FORM_TYPE">>, type = hidden, values = [Type]}
	      | [#xdata_field{var = <<"pubsub#", (word(Name))/binary>>, values = Values}
		 || {Name, Value} <- Options, Values <- [values(Value)], Values /= []]],
    xmpp:encode(#xdata{type = submit, fields = Fields}).

-spec values(term()) -> [binary()].
values(true) -> [<<"1">>];
values(false) -> [<<"0">>];
values(Value) when Value == undefined; Value == infinity; Value == [] -> [];
values(unlimited) -> [<<"max">>];
values(Value) when is_atom(Value) -> [word(Value)];
values(Value) when is_integer(Value) -> [integer_to_binary(Value)];
values(Value) when is_binary(Value) -> [Value];
values(Values) when is_list(Values) -> lists:flatmap(fun values/1, Values);
values(_) -> [].

%% A word of the protocol; one of them is written otherwise here.
-spec word(atom()) -> binary().
word(publish_only) -> <<"publish-only">>;
word(Word) -> atom_to_binary(Word, utf8).
