%%% @doc Tells modules of the server what happened in a service, by the hooks of mod_pubsub.
%%%
%%% Handlers may call the engine again and wait for it, so they never run in a worker: what came over the wire is told by
%%% these processes, in order for each service; what a module did through mod_pubsub, in that module's own process.
-module(pam_pps_events).
-behaviour(gen_server).

-export([names/0, is_wanted/2, fire_wanted/1, fire/1, run/1]).
-export_type([wanted/0, untold/0]).
%% supervisor
-export([start_link/1]).
%% gen_server
-export([init/1, handle_call/3, handle_cast/2]).

-include("logger.hrl").
-include("xmpp.hrl").

-define(COUNT, 8).
%% Modules of ejabberd's that nearly every server has, and that look only at what people publish on their own accounts. What is
%% published on a service need not be made into terms for them.
-define(IS_OF_ACCOUNTS(Module), (Module == mod_private orelse Module == mod_avatar)).

%% An event, or where it is; and with the service that it is of.
-type untold() :: pam_pps_nif:event() | {pam_pps_nif:outcome(), Place :: non_neg_integer()}.
-type wanted() :: {Service :: binary(), untold()}.

-spec names() -> [atom()].
names() ->
    [name(N) || N <- lists:seq(0, ?COUNT - 1)].

-spec start_link(atom()) -> {ok, pid()} | ignore | {error, term()}.
start_link(Name) ->
    gen_server:start_link({local, Name}, ?MODULE, [], []).

%% @doc Whether any module waits for it. On most servers none does, and most events are published items.
-spec is_wanted(binary(), binary()) -> boolean().
is_wanted(Name, Service) ->
    case domain(Service) of
	{Kind, ServerHost} ->
	    try ets:lookup(hooks, {hook(Name), ServerHost}) of
		[] -> false;
		[{_, Handlers}] -> is_heard(Handlers, Kind);
		%% From ejabberd 24.07 on there are also those who watch the handlers.
		[{_, Handlers, []}] -> is_heard(Handlers, Kind);
		_ -> true
	    catch error:badarg -> true
	    end;
	undefined -> false
    end.

%% @doc Has the hooks of events run: those of one service that follow each other at once.
-spec fire_wanted([wanted()]) -> ok.
fire_wanted([{Service, Event} | Rest]) -> fire_wanted(Rest, Service, [Event]);
fire_wanted([]) -> ok.

%% @doc Has the hooks of events of one service run.
-spec fire([untold()]) -> ok.
fire([]) -> ok;
fire([{event, _, Service, _, _, _, _} | _] = Events) -> fire(Service, Events).

%% @doc Runs the hooks in the calling process.
-spec run([untold()]) -> ok.
run([{Outcome, Place} | Rest]) ->
    try pam_pps_nif:event(Outcome, Place) of
	Event -> run_event(Event)
    catch error:Reason -> ?ERROR_MSG("Modules could not be told of an event that cannot be read: ~p", [Reason])
    end,
    run(Rest);
run([Event | Rest]) ->
    run_event(Event),
    run(Rest);
run([]) ->
    ok.

%%%===================================================================
%%% gen_server
%%%===================================================================

-spec init([]) -> {ok, undefined}.
init([]) ->
    {ok, undefined}.

-spec handle_call(term(), {pid(), term()}, undefined) -> {reply, ok, undefined}.
handle_call(_Request, _From, State) ->
    {reply, ok, State}.

-spec handle_cast({run, [untold()]}, undefined) -> {noreply, undefined}.
handle_cast({run, Events}, State) ->
    run(Events),
    {noreply, State}.

%%%===================================================================
%%% Internal functions
%%%===================================================================

-spec fire_wanted([wanted()], binary(), [untold()]) -> ok.
fire_wanted([{Service, Event} | Rest], Service, Last) ->
    fire_wanted(Rest, Service, [Event | Last]);
fire_wanted(Rest, Service, Last) ->
    fire(Service, lists:reverse(Last)),
    fire_wanted(Rest).

-spec fire(binary(), [untold()]) -> ok.
fire(Service, Events) ->
    gen_server:cast(name(erlang:phash2(Service, ?COUNT)), {run, Events}).

-spec name(non_neg_integer()) -> atom().
name(0) -> pam_pps_events_0;
name(1) -> pam_pps_events_1;
name(2) -> pam_pps_events_2;
name(3) -> pam_pps_events_3;
name(4) -> pam_pps_events_4;
name(5) -> pam_pps_events_5;
name(6) -> pam_pps_events_6;
name(7) -> pam_pps_events_7.

-spec hook(binary()) -> atom().
hook(<<"item-published">>) -> pubsub_publish_item;
hook(<<"item-retracted">>) -> pubsub_delete_item;
hook(<<"node-created">>) -> pubsub_create_node;
hook(<<"node-deleted">>) -> pubsub_delete_node;
hook(<<"subscription-added">>) -> pubsub_subscribe_node;
hook(<<"subscription-removed">>) -> pubsub_unsubscribe_node;
hook(_) -> undefined.

-spec is_heard([{Seq :: integer(), module() | undefined, atom() | fun()}], pam_pps:kind()) -> boolean().
is_heard([{_, Module, _} | Handlers], Kind) when Kind /= accounts, ?IS_OF_ACCOUNTS(Module) -> is_heard(Handlers, Kind);
is_heard(Handlers, _Kind) -> Handlers /= [].

%% The engine has prepared the address.
-spec domain(binary()) -> {pam_pps:kind(), ServerHost :: binary()} | undefined.
domain(Service) ->
    [Bare | _] = binary:split(Service, <<"/">>),
    pam_pps:domain(lists:last(binary:split(Bare, <<"@">>))).

-spec run_event(pam_pps_nif:event()) -> ok.
run_event({event, Name, Service, Node, Item, Actor, Payload}) ->
    case {hook(Name), domain(Service)} of
	{Hook, {_, ServerHost}} when Hook /= undefined ->
	    try arguments(Hook, ServerHost, pam_pps_jid:decode(Service), Node, Item, actor(Actor, Service), Payload) of
		Arguments -> ejabberd_hooks:run(Hook, ServerHost, Arguments)
	    catch Class:Reason:Stack ->
		    ?ERROR_MSG("Modules could not be told of ~ts:~n** ~ts",
			       [Name, misc:format_exception(2, Class, Reason, Stack)])
	    end;
	_ -> ok
    end.

%% What the service did by itself, it did as its owner.
-spec actor(binary(), binary()) -> jid().
actor(<<>>, Service) -> pam_pps_jid:decode(Service);
actor(Actor, _Service) -> pam_pps_jid:decode(Actor).

-spec arguments(atom(), binary(), jid(), binary(), binary(), jid(), xmlel() | binary()) -> [term()].
arguments(pubsub_publish_item, ServerHost, Service, Node, Item, Actor, Payload) ->
    [ServerHost, Node, Actor, Service, Item, payload(Payload)];
arguments(pubsub_delete_item, ServerHost, Service, Node, Item, Actor, _) ->
    [ServerHost, Node, Actor, Service, Item];
arguments(pubsub_create_node, ServerHost, Service, Node, _, _, _) ->
    [ServerHost, host(Service), Node, Node, []];
arguments(pubsub_delete_node, ServerHost, Service, Node, _, _, _) ->
    [ServerHost, host(Service), Node, Node];
arguments(_, ServerHost, Service, Node, _, Actor, _) ->
    [ServerHost, host(Service), Node, Actor, <<>>].

%% Services are known by their domain, accounts by a tuple.
-spec host(jid()) -> binary() | jid:ljid().
host(#jid{luser = <<>>, lserver = Domain}) -> Domain;
host(Account) -> jid:tolower(jid:remove_resource(Account)).

%% What is in an item.
-spec payload(xmlel() | binary()) -> [xmlel()].
payload(#xmlel{children = Children}) -> [El || #xmlel{} = El <- Children];
payload(<<>>) -> [].
