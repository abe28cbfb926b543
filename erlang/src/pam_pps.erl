%%% @doc The engine of this node: opened for the first host that wants it, closed with the last.
%%%
%%% Stanzas do not pass through a process here. Whoever has one submits it himself; the outcome is carried out by a worker,
%%% the same one for all outcomes of a service, so that they keep their order. This process owns the engine's life, its
%%% clock and its log.
%%%
%%% What every stanza passes, here, in pam_pps_worker and in pam_pps_sender, makes no funs: up to OTP 25.2 a fun that is called while its
%%% module is loaded over itself may enter code that is not complete, and takes the VM down (erlang/otp#6541).
-module(pam_pps).
-behaviour(gen_server).

%% API
-export([acquire/2, release/1, serve/4, unserve/1, domain/1, domains/1, announced/2, submit/3, submit/4, ask/2, command/1,
	 import/1, statistics/0, resubmit/3, wake_at/1]).
%% supervisor
-export([start_link/0]).
%% gen_server
-export([init/1, handle_call/3, handle_cast/2, handle_info/2, terminate/2]).
-export_type([kind/0, context/0, about/0, tag/0]).

-include("logger.hrl").
-include("xmpp.hrl").

-type kind() :: accounts | component | rooms.
%% What an outcome is about: a stanza that was taken from its way and may have to go on, a request that the engine answers itself,
%% a process that waits, or a room's list that the engine's is added to.
-type context() :: none | {taken, stanza()} | {asked, iq()} | {call, reference(), Id :: binary()} | {list, Answer :: iq(), Id :: binary()}.
%% What of it is always wanted: of a request, the attributes that make a stanza the answer to it, and that answer.
-type about() :: none | taken | {taken, Answer :: [attr()], iq()} | {call, reference(), Id :: binary()} | {list, Id :: binary()}.
%% Where an outcome goes, how often facts were asked for, and what it is about.
-type tag() :: {Worker :: atom(), Rounds :: non_neg_integer(), about()}.

-record(state, {engine :: pam_pps_nif:engine() | undefined,
		users = [] :: [binary()],
		timer :: reference() | undefined,
		wake :: integer() | undefined}).

%% As in pam_pps_nif.erl.
-define(INTERFACE, 2).
-define(ENGINE, {?MODULE, engine}).
-define(DOMAINS, {?MODULE, domains}).
-define(MAX_ROUNDS, 20).
-define(CALL_TIMEOUT, 30000).
-define(OTHER_VERSION, <<"the native code of another version is loaded; ejabberd has to be restarted">>).

%%%===================================================================
%%% API
%%%===================================================================

%% @doc Opens the engine for a user of it, a virtual host; the options count for the first one.
-spec acquire(binary(), [{binary(), binary()}]) -> ok | {error, term()}.
acquire(User, Options) ->
    ok = pam_pps_sup:start(),
    case gen_server:call(?MODULE, {acquire, User, Options}, infinity) of
	ok -> ok;
	{error, _} = Error ->
	    release(User),
	    Error
    end.

%% @doc Closes the engine when nobody else uses it.
-spec release(binary()) -> ok.
release(User) ->
    try gen_server:call(?MODULE, {release, User}, infinity) of
	last -> pam_pps_sup:stop();
	used -> ok
    catch exit:{noproc, _} -> ok
    end.

-spec serve(binary(), kind(), binary(), [{binary(), binary()}]) -> ok | {error, pam_pps_nif:reason()}.
serve(Domain, Kind, ServerHost, Options) ->
    case with_engine(fun(Engine) -> pam_pps_nif:serve(Engine, Domain, Kind, Options) end) of
	ok -> gen_server:call(?MODULE, {serve, Domain, Kind, ServerHost}, infinity);
	{error, _} = Error -> Error
    end.

-spec unserve(binary()) -> ok.
unserve(Domain) ->
    try gen_server:call(?MODULE, {unserve, Domain}, infinity)
    catch exit:{noproc, _} -> ok
    end.

%% @doc What is served under that name.
-spec domain(binary()) -> {kind(), ServerHost :: binary()} | undefined.
domain(Domain) ->
    case persistent_term:get(?DOMAINS, #{}) of
	#{Domain := {Kind, ServerHost, _}} -> {Kind, ServerHost};
	_ -> undefined
    end.

%% @doc Everything that is served for a virtual host.
-spec domains(binary()) -> [{binary(), kind()}].
domains(ServerHost) ->
    [{Domain, Kind} || {Domain, {Kind, Host, _}} <- maps:to_list(persistent_term:get(?DOMAINS, #{})), Host == ServerHost].

%% @doc Identities and features for disco#info.
-spec announced(binary(), account | domain | component | room) -> {[identity()], [binary()]}.
announced(Domain, Where) ->
    case persistent_term:get(?DOMAINS, #{}) of
	#{Domain := {_, _, #{Where := Announced}}} -> Announced;
	_ -> {[], []}
    end.

%% @doc Hands an input to the engine. `Lane' is the service that it is for.
-spec submit(pam_pps_nif:input(), binary(), iodata() | xmlel()) -> ok | {error, pam_pps_nif:reason()}.
submit(Kind, Lane, Data) ->
    submit(Kind, Lane, Data, #{}).

-spec submit(pam_pps_nif:input(), binary(), iodata() | xmlel(),
	     #{context => context(), extra => binary(), privileged => boolean()}) -> ok | {error, pam_pps_nif:reason()}.
submit(Kind, Lane, Data, More) ->
    Worker = pam_pps_worker:name(Lane),
    Context = maps:get(context, More, none),
    Tag = {Worker, 0, about(Context, Data)},
    Extra = maps:get(extra, More, <<>>),
    Privileged = maps:get(privileged, More, false),
    case {engine(), whereis(Worker)} of
	{undefined, _} -> {error, closed};
	{_, undefined} -> {error, busy};
	{Engine, Pid} -> pam_pps_nif:submit(Engine, Kind, Data, Extra, Privileged, Pid, Tag, kept(Context))
    end.

%% @doc Sends an IQ to a service as if it had come over the wire, and waits for the answer. What the engine tells modules of
%% is given to the caller, who runs their hooks.
-spec ask(iq(), boolean()) -> {ok, iq(), [pam_pps_nif:event()]} | {error, term()}.
ask(#iq{to = To} = IQ, Privileged) ->
    Id = <<"service-", (p1_rand:get_string())/binary>>,
    Data = xmpp:encode(IQ#iq{id = Id}),
    call(stanza, jid:encode(jid:tolower(jid:remove_resource(To))), Data, Id, Privileged, ?CALL_TIMEOUT).

%% @doc Runs a command of an administrator; some look through the whole database.
-spec command(binary()) -> {ok, binary()} | {error, term()}.
command(Text) ->
    case call(command, <<>>, Text, <<>>, true, infinity) of
	{ok, Reply, _} when is_binary(Reply) -> {ok, Reply};
	{ok, _, _} -> {error, no_answer};
	{error, _} = Error -> Error
    end.

%% @doc Hands over what an earlier module kept. Past the queue, since the service it is for waits for it.
-spec import(iodata() | xmlel()) -> {ok, binary()} | {error, term()}.
import(Document) ->
    case with_engine(fun(Engine) -> pam_pps_nif:handle(Engine, import, Document) end) of
	{ok, Outcome} ->
	    Decisions = pam_pps_nif:decisions(Outcome),
	    pam_pps_worker:carry_out(Decisions, none, Outcome),
	    case lists:keyfind(reply, 1, Decisions) of
		{reply, Text} -> {ok, Text};
		false -> {error, no_answer}
	    end;
	{error, _} = Error -> Error
    end.

-spec statistics() -> {ok, binary()} | {error, pam_pps_nif:reason()}.
statistics() ->
    with_engine(fun pam_pps_nif:statistics/1).

%% @doc Gives an input back with facts.
-spec resubmit(pam_pps_nif:outcome(), [pam_pps_nif:fact()], tag()) -> ok | {error, pam_pps_nif:reason()}.
resubmit(_Outcome, _Facts, {_, Rounds, _}) when Rounds >= ?MAX_ROUNDS ->
    {error, too_many_needs};
resubmit(Outcome, Facts, {Worker, Rounds, About}) ->
    case whereis(Worker) of
	undefined -> {error, busy};
	Pid -> pam_pps_nif:resubmit(Outcome, Facts, Pid, {Worker, Rounds + 1, About})
    end.

%% @doc The engine wants a tick at that time.
-spec wake_at(integer()) -> ok.
wake_at(Time) ->
    gen_server:cast(?MODULE, {wake_at, Time}).

-spec start_link() -> {ok, pid()} | ignore | {error, term()}.
start_link() ->
    gen_server:start_link({local, ?MODULE}, ?MODULE, [], []).

%%%===================================================================
%%% gen_server
%%%===================================================================

-spec init([]) -> {ok, #state{}}.
init([]) ->
    process_flag(trap_exit, true),
    pam_pps_nif:log(self()),
    ejabberd_hooks:add(ejabberd_stopping, pam_pps_worker, ejabberd_stopping, 50),
    %% After a crash of this process the engine is still there.
    case persistent_term:get(?ENGINE, undefined) of
	undefined -> {ok, #state{}};
	Engine ->
	    Users = lists:usort([Host || {_, Host, _} <- maps:values(persistent_term:get(?DOMAINS, #{}))]),
	    tick(),
	    {ok, #state{engine = Engine, users = Users}}
    end.

-spec handle_call(term(), {pid(), term()}, #state{}) -> {reply, term(), #state{}}.
handle_call({acquire, User, Options}, _From, #state{users = Users} = State) ->
    case open(Options, State) of
	{ok, New} -> {reply, ok, New#state{users = lists:usort([User | Users])}};
	{error, _} = Error -> {reply, Error, State}
    end;
handle_call({release, User}, _From, #state{users = Users} = State) ->
    case lists:delete(User, Users) of
	[] ->
	    {reply, last, close(State#state{users = []})};
	Left -> {reply, used, State#state{users = Left}}
    end;
handle_call({serve, Domain, Kind, ServerHost}, _From, State) ->
    Domains = persistent_term:get(?DOMAINS, #{}),
    persistent_term:put(?DOMAINS, Domains#{Domain => {Kind, ServerHost, read_announced(Domain, Kind)}}),
    %% What was under way before a restart goes on, and what was missed is asked for.
    tick(),
    {reply, ok, State};
handle_call({unserve, Domain}, _From, State) ->
    Domains = persistent_term:get(?DOMAINS, #{}),
    persistent_term:put(?DOMAINS, maps:remove(Domain, Domains)),
    _ = with_engine(fun(Engine) -> pam_pps_nif:unserve(Engine, Domain) end),
    {reply, ok, State};
handle_call(Request, From, State) ->
    ?WARNING_MSG("Unexpected call from ~p: ~p", [From, Request]),
    {reply, {error, unknown}, State}.

-spec handle_cast(term(), #state{}) -> {noreply, #state{}}.
handle_cast({wake_at, Time}, #state{wake = Wake} = State) when is_integer(Wake), Wake =< Time ->
    {noreply, State};
handle_cast({wake_at, Time}, #state{timer = Timer} = State) ->
    _ = [erlang:cancel_timer(Timer) || Timer /= undefined],
    Delay = max(0, (Time - erlang:system_time(microsecond)) div 1000 + 1),
    %% Timers reach seven weeks; a tick that comes early asks anew.
    New = erlang:start_timer(min(Delay, 16#ffffffff), self(), tick),
    {noreply, State#state{timer = New, wake = Time}};
handle_cast(Message, State) ->
    ?WARNING_MSG("Unexpected cast: ~p", [Message]),
    {noreply, State}.

-spec handle_info(term(), #state{}) -> {noreply, #state{}}.
handle_info({timeout, Timer, tick}, #state{timer = Timer} = State) ->
    tick(),
    {noreply, State#state{timer = undefined, wake = undefined}};
handle_info({timeout, _, tick}, State) ->
    {noreply, State};
handle_info({pam_pps, log, Level, Text}, State) ->
    log(Level, Text),
    {noreply, State};
handle_info(Info, State) ->
    ?WARNING_MSG("Unexpected info: ~p", [Info]),
    {noreply, State}.

-spec terminate(term(), #state{}) -> ok.
terminate(Reason, State) when Reason == normal; Reason == shutdown ->
    ejabberd_hooks:delete(ejabberd_stopping, pam_pps_worker, ejabberd_stopping, 50),
    _ = close(State),
    ok;
terminate(_Reason, _State) ->
    ok.

%%%===================================================================
%%% Internal functions
%%%===================================================================

-spec open([{binary(), binary()}], #state{}) -> {ok, #state{}} | {error, term()}.
open(Options, #state{engine = undefined} = State) ->
    case open_native(Options) of
	{ok, Engine} ->
	    persistent_term:put(?ENGINE, Engine),
	    ?INFO_MSG("Engine of libpam_pps ~ts opened", [pam_pps_nif:version()]),
	    {ok, State#state{engine = Engine}};
	{error, _} = Error -> Error
    end;
open(_Options, State) ->
    {ok, State}.

%% After an upgrade the native code may be the one from before.
-spec open_native([{binary(), binary()}]) -> {ok, pam_pps_nif:engine()} | {error, pam_pps_nif:reason()}.
open_native(Options) ->
    try pam_pps_nif:has_interface(?INTERFACE) of
	true -> pam_pps_nif:open(Options);
	false -> {error, {version, ?OTHER_VERSION}}
    catch error:undef -> {error, {version, ?OTHER_VERSION}}
    end.

%% Closed before it is erased: what is in a persistent term may be collected as soon as it is erased, even while a dirty
%% native function has it as an argument. The state keeps it until then.
-spec close(#state{}) -> #state{}.
close(#state{engine = undefined} = State) ->
    State;
close(#state{engine = Engine} = State) ->
    pam_pps_nif:close(Engine),
    persistent_term:erase(?ENGINE),
    persistent_term:erase(?DOMAINS),
    pam_pps_import:forget(),
    ?INFO_MSG("Engine of libpam_pps closed", []),
    State#state{engine = undefined}.

-spec tick() -> ok.
tick() ->
    _ = submit(tick, <<>>, <<>>),
    ok.

-spec about(context(), iodata() | xmlel()) -> about().
about({Taken, #iq{id = Id, lang = Lang, from = From, to = To}}, #xmlel{attrs = Attrs}) when Taken == taken; Taken == asked ->
    {taken, answered(Attrs, []), #iq{type = result, id = Id, lang = Lang, from = To, to = From}};
about({taken, _}, _) -> taken;
about({list, _, Id}, _) -> {list, Id};
about(Context, _) -> Context.

-spec kept(context()) -> asked | context().
kept({asked, _}) -> asked;
kept(Context) -> Context.

-spec answered([attr()], [attr()]) -> [attr()].
answered([{<<"id">>, _} = Id | Rest], Answer) -> answered(Rest, [Id | Answer]);
answered([{<<"from">>, From} | Rest], Answer) -> answered(Rest, [{<<"to">>, From} | Answer]);
answered([{<<"to">>, To} | Rest], Answer) -> answered(Rest, [{<<"from">>, To} | Answer]);
answered([_ | Rest], Answer) -> answered(Rest, Answer);
answered([], Answer) -> Answer.

-spec engine() -> pam_pps_nif:engine() | undefined.
engine() ->
    persistent_term:get(?ENGINE, undefined).

-spec with_engine(fun((pam_pps_nif:engine()) -> T)) -> T | {error, closed}.
with_engine(F) ->
    case engine() of
	undefined -> {error, closed};
	Engine -> F(Engine)
    end.

-spec call(pam_pps_nif:input(), binary(), iodata() | xmlel(), binary(), boolean(), timeout()) ->
	  {ok, term(), [pam_pps_nif:event()]} | {error, term()}.
call(Kind, Lane, Data, Id, Privileged, Timeout) ->
    Ref = erlang:monitor(process, pam_pps_worker:name(Lane), [{alias, reply_demonitor}]),
    case submit(Kind, Lane, Data, #{context => {call, Ref, Id}, privileged => Privileged}) of
	ok ->
	    receive
		{Ref, Reply, Events} when Reply /= none -> {ok, Reply, Events};
		{Ref, none, _} -> {error, no_answer};
		{'DOWN', Ref, _, _, _} -> {error, internal}
	    after Timeout ->
		    erlang:demonitor(Ref, [flush]),
		    receive {Ref, _, _} -> ok after 0 -> ok end,
		    {error, timeout}
	    end;
	{error, _} = Error ->
	    erlang:demonitor(Ref, [flush]),
	    Error
    end.

-spec read_announced(binary(), kind()) -> #{atom() => {[identity()], [binary()]}}.
read_announced(Domain, Kind) ->
    Places = case Kind of
		 accounts -> [account, domain];
		 component -> [component];
		 rooms -> [room]
	     end,
    maps:from_list([{Place, read_features(Domain, Place)} || Place <- Places]).

-spec read_features(binary(), account | domain | component | room) -> {[identity()], [binary()]}.
read_features(Domain, Place) ->
    case with_engine(fun(Engine) -> pam_pps_nif:features(Engine, Domain, Place) end) of
	{ok, Text} ->
	    Lines = binary:split(Text, <<"\n">>, [global, trim_all]),
	    lists:partition(fun is_tuple/1, [read_line(binary:split(Line, <<"\t">>, [global])) || Line <- Lines]);
	{error, _} -> {[], []}
    end.

-spec read_line([binary()]) -> identity() | binary().
read_line([<<"identity">>, Category, Type | Name]) ->
    #identity{category = Category, type = Type, name = iolist_to_binary(Name)};
read_line([Feature | _]) ->
    Feature.

-spec log(error | warning | info | debug, binary()) -> ok.
log(error, Text) -> ?ERROR_MSG("~ts", [Text]);
log(warning, Text) -> ?WARNING_MSG("~ts", [Text]);
log(info, Text) -> ?INFO_MSG("~ts", [Text]);
log(debug, Text) -> ?DEBUG("~ts", [Text]), ok.
