%%% @doc The options of mod_pam_pps, and how they are said to the engine.
-module(pam_pps_options).

-export([type/1, defaults/1, doc/0, engine/1, domains/2]).

-type pairs() :: [{binary(), binary()}].

%% Options of the engine, and of what it serves. They are its own, under the same names (pam_pps_config_set).
-define(OF_ENGINE, [database, commit, cache_size, max_stanza_bytes, readers, request_timeout, seed]).
-define(OF_ACCOUNTS,
	[check_interval, auto_subscribe, auto_subscribe_expiry, journal, journal_max_events, journal_max_bytes, journal_expiry, eventing,
	 max_nodes, max_bytes, max_subscriptions, max_items, import]).
-define(OF_SERVICES,
	[name, create_nodes, default_max_items, eventing, max_subscriptions, max_items, import, autocreate_on_publish, autocreate_on_subscribe,
	 expose_publisher, default_admin_affiliation]).

-define(OF_ROOMS, [room_publish, max_nodes, max_bytes, max_subscriptions, max_items]).

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
type(max_items_node) -> econf:non_neg_int(unlimited);
type(vcard) -> econf:vcard_temp();
type(eventing) -> econf:either(econf:bool(), econf:enum([rooms, conversations]));
type(room_publish) -> econf:enum([nobody, owners]);
type(create_nodes) -> econf:enum([anyone, local, admins]);
type(default_admin_affiliation) -> econf:enum([owner, publisher, 'publish-only', member, none, outcast]);
type(name) -> econf:binary();
type(Name) when Name == rooms; Name == auto_subscribe; Name == journal; Name == autocreate_on_publish; Name == autocreate_on_subscribe;
		Name == expose_publisher; Name == import -> econf:bool();
type(Name) when Name == readers; Name == check_interval -> econf:non_neg_int();
type(_) -> econf:pos_int().

-spec defaults(binary()) -> [{atom(), term()}].
defaults(_Host) ->
    [{services, undefined}, {rooms, false}, {import, true}]
	++ [{Name, undefined} || Name <- lists:usort(?OF_ENGINE ++ (?OF_ACCOUNTS -- [import]) ++ ?OF_ROOMS ++ ?OF_PUBSUB)].

doc() ->
    #{desc => [<<"Publish-subscribe by libpam_pps: a pubsub service, personal eventing, and subscriptions that the "
		 "account keeps for all of its devices. It stands in for mod_pubsub.">>],
      opts => []}.

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
    Common = maps:with([import, max_items, max_subscriptions], inherit(Opts)),
    Open = maps:from_list([{create_nodes, anyone} || maps:get(access_createnode, Opts, undefined) /= undefined]),
    Defaults = maps:merge(Common#{name => <<"Publish-Subscribe">>}, Open),
    events(pairs(?OF_SERVICES, maps:merge(Defaults, maps:from_list(pairs_of(Own))))).

%% With what mod_pubsub's names say.
-spec inherit(gen_mod:opts()) -> gen_mod:opts().
inherit(#{max_items := undefined, max_items_node := Count} = Opts) when is_integer(Count) -> Opts#{max_items => max(Count, 1)};
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
	nomatch -> unicode:characters_to_binary(filename:join(mnesia:system_info(directory), Name));
	_ -> Name
    end.

-spec pairs([atom()], map()) -> pairs().
pairs(Names, Opts) ->
    [{atom_to_binary(Name, utf8), text(Value)} || Name <- Names, Value <- [maps:get(Name, Opts, undefined)], Value /= undefined].

-spec text(term()) -> binary().
text(Value) when is_atom(Value) -> atom_to_binary(Value, utf8);
text(Value) when is_integer(Value) -> integer_to_binary(Value);
text(Value) -> iolist_to_binary(Value).
