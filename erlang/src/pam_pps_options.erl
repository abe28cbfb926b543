%%% @doc The options of mod_pam_pps, and how they are said to the engine.
-module(pam_pps_options).

-export([type/1, defaults/1, doc/0, engine/1, domains/2]).

-include("translate.hrl").

-type pairs() :: [{binary(), binary()}].

%% Options of the engine, and of what it serves. They are its own, under the same names (pam_pps_config_set).
-define(OF_ENGINE, [database, commit, cache_size, max_stanza_bytes, readers, request_timeout, seed]).
-define(OF_ACCOUNTS,
	[check_interval, auto_subscribe, auto_subscribe_expiry, journal, journal_max_events, journal_max_bytes, journal_expiry, eventing,
	 max_nodes, max_bytes, max_subscriptions, max_items, import, default_node_config, force_node_config, ignore_pep_from_offline,
	 max_nodes_discoitems, max_subscriptions_node]).
-define(OF_SERVICES,
	[name, create_nodes, default_max_items, eventing, max_subscriptions, max_items, import, autocreate_on_publish, autocreate_on_subscribe,
	 expose_publisher, default_admin_affiliation, default_node_config, force_node_config, max_nodes_discoitems,
	 max_subscriptions_node]).
-define(OF_ROOMS,
	[room_publish, conference_info, max_nodes, max_bytes, max_subscriptions, max_items, default_node_config, force_node_config,
	 max_nodes_discoitems, max_subscriptions_node]).
%% Those that hold for a service too, if it has not its own.
-define(OF_BOTH,
	[import, max_items, max_subscriptions, default_node_config, force_node_config, max_nodes_discoitems, max_subscriptions_node]).

%% Nodes in one answer, whatever is asked for.
-define(MAX_PAGE, 1000).

%% Those of mod_pubsub that mean something here, under their own names.
-define(OF_PUBSUB, [access_createnode, host, hosts, max_items_node, vcard]).

%% @doc What the value of an option looks like.
-spec type(atom()) -> econf:validator().
type(database) -> econf:binary();
type(commit) -> econf:enum([os, disk]);
type(seed) -> econf:binary();
type(services) -> econf:map(econf:binary(), econf:options(maps:from_list([{Name, type(Name)} || Name <- ?OF_SERVICES])));
type(access_createnode) -> econf:acl();
type(host) -> econf:host();
type(hosts) -> econf:hosts();
type(max_items_node) -> econf:pos_int(unlimited);
type(max_nodes_discoitems) -> econf:and_then(econf:pos_int(infinity), fun(Count) -> min(Count, ?MAX_PAGE) end);
type(vcard) -> econf:vcard_temp();
type(eventing) -> econf:either(econf:bool(), econf:enum([rooms, conversations]));
type(room_publish) -> econf:enum([nobody, owners]);
type(create_nodes) -> econf:enum([anyone, local, admins]);
type(default_admin_affiliation) -> econf:enum([owner, none]);
type(name) -> econf:binary();
type(Name) when Name == default_node_config; Name == force_node_config ->
    Settings = fun(Value) -> econf:and_then(econf:map(econf:binary(), Value, [unique]), fun(Pairs) -> {settings, Pairs} end) end,
    Value = econf:either(econf:bool(), econf:either(econf:int(), econf:list_or_single(econf:binary()))),
    Settings(econf:either(Settings(Value), Value));
type(Name) when Name == rooms; Name == conference_info; Name == auto_subscribe; Name == ignore_pep_from_offline; Name == journal;
		Name == autocreate_on_publish; Name == autocreate_on_subscribe;
		Name == expose_publisher; Name == import -> econf:bool();
type(Name) when Name == readers; Name == check_interval -> econf:non_neg_int();
type(_) -> econf:pos_int().

-spec defaults(binary()) -> [{atom(), term()}].
defaults(_Host) ->
    [{services, undefined}, {rooms, false}, {import, true}]
	++ [{Name, undefined} || Name <- lists:usort(?OF_ENGINE ++ (?OF_ACCOUNTS -- [import]) ++ ?OF_ROOMS ++ ?OF_PUBSUB)].

-spec doc() -> map().
doc() ->
    #{desc => [?T("Publish-subscribe by libpam_pps: pubsub services (https://xmpp.org/extensions/xep-0060.html[XEP-0060]), "
		  "personal eventing (https://xmpp.org/extensions/xep-0163.html[XEP-0163]), subscriptions that the account keeps "
		  "for all of its devices (https://xmpp.org/extensions/xep-0376.html[XEP-0376]), and public ones "
		  "(https://xmpp.org/extensions/xep-0465.html[XEP-0465]). It stands in for 'mod_pubsub'."),
	       ?T("The options 'cache_size', 'commit', 'database', 'max_stanza_bytes', 'readers', 'request_timeout' and 'seed' are "
		  "those of the engine: they are the same for all virtual hosts and change with a restart.")],
      example => ["modules:",
		  "  mod_pam_pps:",
		  "    services:",
		  "      \"pubsub.@HOST@\":",
		  "        create_nodes: anyone",
		  "  mod_pubsub: {}"],
      opts =>
	  [{access_createnode,
		 #{value => ?T("AccessName"),
		   desc => ?T("Who may ask for a new node, on accounts and services, as in mod_pubsub. It sets 'create_nodes' to "
		           "'anyone'. By default 'create_nodes' decides alone.")}},
	   {auto_subscribe,
		 #{value => ?T("true | false"),
		   desc => ?T("Extension to XEP-0376: an account follows nodes of its contacts by subscriptions of its own. The "
		           "default value is 'false'.")}},
	   {auto_subscribe_expiry,
		 #{value => ?T("Seconds"),
		   desc => ?T("When a subscription made by 'auto_subscribe' ends for which no client has asked. The default value "
		           "is '2592000', 30 days.")}},
	   {cache_size,
		 #{value => ?T("Bytes"),
		   desc => ?T("Memory for nodes, items and subscriptions, of the whole server. The default value is '67108864'.")}},
	   {check_interval,
		 #{value => ?T("Seconds"),
		   desc => ?T("Time between two looks at what services elsewhere have for the accounts; '0' for never. The default "
		           "value is '86400', a day.")}},
	   {commit,
		 #{value => ?T("os | disk"),
		   desc => ?T("What an answer promises: 'os' survives the death of the process, 'disk' the loss of power. The "
		           "default value is 'os'.")}},
	   {conference_info,
		 #{value => ?T("true | false"),
		   desc => ?T("With 'rooms': rooms publish their name, description, subject and number of occupants. The default "
		           "value is 'true'.")}},
	   {database,
		 #{value => ?T("File | memory"),
		   desc => ?T("The SQLite database, in the folder of mnesia if no folder is named. The default value is "
		           "'pam_pps.sqlite'.")}},
	   {default_node_config,
		 #{value => ?T("{Option: Value}"),
		   desc => ?T("Configuration of new nodes, without the prefix 'pubsub#'; whoever creates a node may ask for "
		           "something else. Tables below a pattern of names ('*' and '?') are for the nodes that fit; the first "
		           "one counts."),
		   example => ["default_node_config:",
		              "  max_items: 50",
		              "  \"urn:xmpp:microblog:*\":",
		              "    access_model: open"]}},
	   {eventing,
		 #{value => ?T("true | false"),
		   desc => ?T("XEP-0207: each account has the node 'presence'. The default value is 'false'.")}},
	   {force_node_config,
		 #{value => ?T("{Pattern: {Option: Value}}"),
		   desc => ?T("Configuration of nodes whose names fit a pattern, whatever their owners say, those that are there "
		           "already included. When it is taken away, what the owners said holds again. Publish options that ask "
		           "for something else are not met."),
		   example => ["force_node_config:",
		              "  \"eu.siacs.conversations.axolotl.*\":",
		              "    access_model: open",
		              "  \"storage:bookmarks\":",
		              "    access_model: whitelist"]}},
	   {host,
		 #{value => ?T("Host"),
		   desc => ?T("Deprecated, use 'hosts' or 'services'.")}},
	   {hosts,
		 #{value => ?T("[Host, ...]"),
		   desc => ?T("The pubsub services, '@HOST@' stands for the virtual host. With options for each of them: "
		           "'services'.")}},
	   {ignore_pep_from_offline,
		 #{value => ?T("true | false"),
		   desc => ?T("While an account is offline, its contacts get no last items; they get them when it comes online. The "
		           "default value is 'false'.")}},
	   {import,
		 #{value => ?T("true | false"),
		   desc => ?T("Take over what mod_pubsub kept, in mnesia or SQL, when a service or account is first used. The "
		           "default value is 'true'.")}},
	   {journal,
		 #{value => ?T("true | false"),
		   desc => ?T("Extension to XEP-0376: keep events for devices that were away. The default value is 'false'.")}},
	   {journal_expiry,
		 #{value => ?T("Seconds"),
		   desc => ?T("How long an event is kept in a journal. The default value is '2592000', 30 days.")}},
	   {journal_max_bytes,
		 #{value => ?T("Bytes"),
		   desc => ?T("Size of one account's journal. The default value is '4194304'.")}},
	   {journal_max_events,
		 #{value => ?T("Number"),
		   desc => ?T("Events in one account's journal. The default value is '10000'.")}},
	   {max_bytes,
		 #{value => ?T("Bytes"),
		   desc => ?T("Payloads of one account. The default value is '67108864'.")}},
	   {max_items,
		 #{value => ?T("Number"),
		   desc => ?T("What 'max' means for the option 'pubsub#max_items' of a node. The default value is '10000'.")}},
	   {max_items_node,
		 #{value => ?T("Number | unlimited"),
		   desc => ?T("The same, under mod_pubsub's name.")}},
	   {max_nodes,
		 #{value => ?T("Number"),
		   desc => ?T("Nodes of one account; a service has no limit. The default value is '1000'.")}},
	   {max_nodes_discoitems,
		 #{value => ?T("Number | infinity"),
		   desc => ?T("Nodes in one answer to disco#items, 1000 at most; whoever wants more pages through them. The default "
		           "value is '1000'.")}},
	   {max_stanza_bytes,
		 #{value => ?T("Bytes"),
		   desc => ?T("The longest stanza that is read. The default value is '1048576'.")}},
	   {max_subscriptions,
		 #{value => ?T("Number"),
		   desc => ?T("Subscriptions of one address. The default value is '10000'.")}},
	   {max_subscriptions_node,
		 #{value => ?T("Number"),
		   desc => ?T("Subscriptions to one node. By default there is no limit.")}},
	   {readers,
		 #{value => ?T("Number"),
		   desc => ?T("Threads that answer requests which only read, beside the one that writes. The default value is '2'.")}},
	   {request_timeout,
		 #{value => ?T("Seconds"),
		   desc => ?T("When a request that an account has sent to another service is overdue; the next ones wait twice as "
		           "long each time. The default value is '60'.")}},
	   {room_publish,
		 #{value => ?T("nobody | owners"),
		   desc => ?T("Who may publish to a room itself, besides the server. The default value is 'nobody'.")}},
	   {rooms,
		 #{value => ?T("true | false"),
		   desc => ?T("XEP-0316: rooms of the virtual host's chat services, and the occupants of these rooms, have nodes. "
		           "The default value is 'false'.")}},
	   {seed,
		 #{value => ?T("Text"),
		   desc => ?T("For tests: identifiers are derived from it instead of from the system's randomness.")}},
	   {services,
		 #{value => ?T("{Host: Options}"),
		   desc => ?T("The pubsub services with options of their own, '@HOST@' stands for the virtual host. The default "
		           "value is 'pubsub.@HOST@'."),
		   example => ["services:",
		              "  \"pubsub.@HOST@\":",
		              "    create_nodes: anyone",
		              "  \"news.@HOST@\": {}"]},
		 [{autocreate_on_publish,
		   #{value => ?T("true | false"),
		     desc => ?T("A publish to a missing node makes it. The default value is 'false'.")}},
		  {autocreate_on_subscribe,
		   #{value => ?T("true | false"),
		     desc => ?T("A subscription to a missing node makes it. The default value is 'false'.")}},
		  {create_nodes,
		   #{value => ?T("anyone | local | admins"),
		     desc => ?T("Who creates nodes: anyone, accounts of this server, or administrators. The default value is 'local'.")}},
		  {default_admin_affiliation,
		   #{value => ?T("owner | none"),
		     desc => ?T("How administrators stand to every node. The default value is 'owner'.")}},
		  {default_max_items,
		   #{value => ?T("Number | max"),
		     desc => ?T("The option 'pubsub#max_items' of new nodes. The default value is '20'.")}},
		  {default_node_config,
		   #{value => ?T("{Option: Value}"),
		     desc => ?T("As above, for this service.")}},
		  {eventing,
		   #{value => ?T("rooms | conversations"),
		     desc => ?T("XEP-0207: each node is a room, or a conversation of two. By default they are nodes and nothing else.")}},
		  {expose_publisher,
		   #{value => ?T("true | false"),
		     desc => ?T("Every item shows its publisher. The default value is 'false'.")}},
		  {force_node_config,
		   #{value => ?T("{Pattern: {Option: Value}}"),
		     desc => ?T("As above, for this service.")}},
		  {import,
		   #{value => ?T("true | false"),
		     desc => ?T("As above, for this service.")}},
		  {max_items,
		   #{value => ?T("Number"),
		     desc => ?T("As above, for this service.")}},
		  {max_nodes_discoitems,
		   #{value => ?T("Number | infinity"),
		     desc => ?T("As above, for this service.")}},
		  {max_subscriptions,
		   #{value => ?T("Number"),
		     desc => ?T("As above, for this service.")}},
		  {max_subscriptions_node,
		   #{value => ?T("Number"),
		     desc => ?T("As above, for this service.")}},
		  {name,
		   #{value => ?T("Name"),
		     desc => ?T("What the service is called in disco#info. The default value is 'Publish-Subscribe'.")}}]},
	   {vcard,
		 #{value => ?T("vCard"),
		   desc => ?T("What the services answer to a request for a vCard, as in mod_pubsub.")}}]}.

%% @doc For pam_pps_nif:open/1.
-spec engine(gen_mod:opts()) -> pairs().
engine(Opts) ->
    File = case maps:get(database, Opts) of
	       undefined -> <<"pam_pps.sqlite">>;
	       Database -> Database
	   end,
    pairs(?OF_ENGINE, Opts#{database => place(File)}).

%% @doc What is served for a virtual host, for pam_pps_nif:serve/4.
-spec domains(binary(), gen_mod:opts()) -> [{binary(), pam_pps:kind(), pairs()}].
domains(Host, Opts) ->
    [{Host, accounts, events(pairs(?OF_ACCOUNTS, inherit(Opts)))}
     | [{misc:expand_keyword(<<"@HOST@">>, Name, Host), component, service(Options, Opts)} || {Name, Options} <- services(Opts)]]
	++ [{Domain, rooms, events(pairs(?OF_ROOMS, inherit(Opts)))} || maps:get(rooms, Opts), Domain <- pam_pps_rooms:domains(Host)].

%%%===================================================================
%%% Internal functions
%%%===================================================================

%% By their own option, or as for mod_pubsub.
-spec services(gen_mod:opts()) -> [{binary(), map() | [{atom(), term()}]}].
services(#{services := Services}) when Services /= undefined -> pairs_of(Services);
services(#{hosts := [_ | _] = Hosts}) -> [{Name, []} || Name <- Hosts];
services(#{host := Name}) when Name /= undefined -> [{Name, []}];
services(_) -> [{<<"pubsub.@HOST@">>, []}].

-spec service(map() | [{atom(), term()}], gen_mod:opts()) -> pairs().
service(Own, Opts) ->
    Common = maps:with(?OF_BOTH, inherit(Opts)),
    Open = maps:from_list([{create_nodes, anyone} || maps:get(access_createnode, Opts, undefined) /= undefined]),
    Defaults = maps:merge(Common#{name => <<"Publish-Subscribe">>}, Open),
    events(pairs(?OF_SERVICES, maps:merge(Defaults, maps:from_list(pairs_of(Own))))).

%% With what mod_pubsub's names say.
-spec inherit(gen_mod:opts()) -> gen_mod:opts().
inherit(#{max_items := undefined, max_items_node := unlimited} = Opts) -> Opts#{max_items => 1 bsl 31};
inherit(#{max_items := undefined, max_items_node := Count} = Opts) -> Opts#{max_items => Count};
inherit(Opts) -> Opts.

%% Modules of the server listen, or may do so at any time.
-spec events(pairs()) -> pairs().
events(Options) ->
    [{<<"events">>, <<"true">>} | Options].

-spec pairs_of(map() | [{term(), term()}]) -> [{term(), term()}].
pairs_of(Map) when is_map(Map) -> maps:to_list(Map);
pairs_of(List) -> List.

%% A plain name is a file in the server's data folder.
-spec place(binary()) -> binary().
place(<<"memory">>) -> <<"memory">>;
place(<<"/", _/binary>> = File) -> File;
place(Name) ->
    case binary:match(Name, <<"://">>) of
	nomatch ->
	    <<_/binary>> = File = unicode:characters_to_binary(filename:join(mnesia:system_info(directory), Name)),
	    File;
	_ -> Name
    end.

-spec pairs([atom()], map()) -> pairs().
pairs(Names, Opts) ->
    [{atom_to_binary(Name, utf8), text(Value)} || Name <- Names, Value <- [maps:get(Name, Opts, undefined)], Value /= undefined].

-spec text(term()) -> binary().
text(Value) when is_atom(Value) -> atom_to_binary(Value, utf8);
text(Value) when is_integer(Value) -> integer_to_binary(Value);
text({settings, Pairs}) -> settings(Pairs);
text(Value) -> iolist_to_binary(Value).

%% Settings of nodes, for all of them or by patterns of their names, as the engine reads them.
-spec settings([{binary(), term()}]) -> binary().
settings(Pairs) ->
    {Named, Common} = lists:partition(fun({_, Value}) -> is_tuple(Value) end, Pairs),
    iolist_to_binary([[lines(Pair) || Pair <- Common],
		      [[$[, Pattern, "]\n" | [lines(Pair) || Pair <- Own]] || {Pattern, {settings, Own}} <- Named]]).

-spec lines({binary(), boolean() | integer() | [binary()]}) -> iolist().
lines({Name, Values}) when is_list(Values) -> [[Name, $=, re:replace(Value, "\\s+", " ", [global, unicode]), $\n] || Value <- Values];
lines({Name, Value}) -> [Name, $=, text(Value), $\n].
