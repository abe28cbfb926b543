%%% @doc Carries out what the engine decided.
%%%
%%% The outcomes of a service all go to one worker, in their order; what a worker sends to somebody goes through the worker
%%% of that recipient (pam_pps_sender). So everybody hears of a service in its order, while a fan-out spreads over the schedulers.
-module(pam_pps_worker).
-behaviour(gen_server).

-export([names/0, name/1, carry_out/3, refuse/1]).
%% hooks
-export([ejabberd_stopping/0]).
%% spawned
-export([answer_needs/3]).
%% supervisor
-export([start_link/2]).
%% gen_server
-export([init/1, handle_call/3, handle_cast/2, handle_info/2, terminate/2]).

-include("logger.hrl").
-include("xmpp.hrl").

%% Stanzas that are handed over at once, and recipients in one step of a fan-out.
-define(BATCH, 1000).
%% Words. Nearly everything that a worker makes is garbage when the next message comes: it need not be collected more often.
-define(MIN_HEAP, 28690).
%% Collections. What waits to be sent lives through some, and is garbage then.
-define(FULL_SWEEP, 10).
%% Milliseconds.
-define(FLUSH_TIMEOUT, 5000).

%% What is to be sent, by the worker that has to send it, the last first; and how many stanzas that are.
%% And what modules are to be told of, the last first; with the kind of event that came last, and whether it is wanted.
-record(out, {parcels = #{} :: #{atom() => [pam_pps_sender:parcel()]}, count = 0 :: non_neg_integer(), events = [] :: [pam_pps_events:wanted()],
	      latest = none :: none | {Name :: binary(), Service :: binary(), boolean()}}).
%% An outcome that is being carried out, what it is about, whether it has many recipients, and whether it goes on to the process that
%% runs hooks. And the answer that waits for his copies, if they have to wait.
-record(done, {outcome :: pam_pps_nif:outcome(), about :: pam_pps:about(), is_large :: boolean(), out :: #out{},
	       reply = none :: none | stanza() | binary(), events = [] :: [pam_pps_nif:event()], goes_on = false :: boolean(),
	       hold = none :: pam_pps_sender:hold() | none}).

%%%===================================================================
%%% API
%%%===================================================================

-spec names() -> [atom()].
names() ->
    tuple_to_list(workers()).

%% @doc The worker of a service or a recipient.
-spec name(binary()) -> atom().
name(Address) ->
    Workers = workers(),
    element(erlang:phash2(Address, tuple_size(Workers)) + 1, Workers).

%% @doc The worker of that name, number `Place' of them.
-spec start_link(atom(), pos_integer()) -> {ok, pid()} | ignore | {error, term()}.
start_link(Name, Place) ->
    gen_server:start_link({local, Name}, ?MODULE, Place, [{spawn_opt, [{min_heap_size, ?MIN_HEAP}, {fullsweep_after, ?FULL_SWEEP}]}]).

%% @doc While components and other servers can still be reached.
-spec ejabberd_stopping() -> ok.
ejabberd_stopping() ->
    lists:foreach(fun flush/1, names()).

%% @doc Carries out the decisions of an outcome without needs.
-spec carry_out([pam_pps_nif:decision()], pam_pps:about(), pam_pps_nif:outcome()) -> ok.
carry_out(Decisions, About, Outcome) ->
    hand_over(carry_out(Decisions, About, Outcome, #out{})).

%% @doc Answers when the engine could not.
-spec refuse(pam_pps:context()) -> ok.
refuse({taken, #iq{type = Type, lang = Lang} = IQ}) when Type == get; Type == set ->
    Error = xmpp:err_internal_server_error(<<"The service is not available now">>, Lang),
    ejabberd_router:route_error(IQ, Error#stanza_error{type = wait});
refuse({list, Answer, _}) ->
    pam_pps_rooms:listed(Answer, none);
refuse({call, Ref, _}) ->
    Ref ! {Ref, none, []},
    ok;
refuse(_) ->
    ok.

%%%===================================================================
%%% gen_server
%%%===================================================================

-spec init(pos_integer()) -> {ok, pam_pps_sender:sender()}.
init(Place) ->
    process_flag(message_queue_data, off_heap),
    %% What is there to be done is done before it stops.
    process_flag(trap_exit, true),
    {ok, pam_pps_sender:new(Place, length(names()))}.

-spec handle_call(term(), {pid(), term()}, pam_pps_sender:sender()) -> {reply, ok, pam_pps_sender:sender()}.
handle_call(flush, _From, Sender) ->
    {reply, ok, pam_pps_sender:flush(Sender)};
handle_call(_Request, _From, Sender) ->
    {reply, ok, Sender}.

-spec handle_cast(term(), pam_pps_sender:sender()) -> {noreply, pam_pps_sender:sender()}.
handle_cast(_Message, Sender) ->
    {noreply, Sender}.

-spec handle_info(term(), pam_pps_sender:sender()) -> {noreply, pam_pps_sender:sender()}.
handle_info({pam_pps, Finished}, Sender) ->
    hand_over(all_finished(Finished, #out{})),
    {noreply, Sender};
handle_info({send, Parcels}, Sender) ->
    {noreply, pam_pps_sender:send(Parcels, Sender)};
handle_info({{pam_pps_sender, _, _} = Question, _Answer}, Sender) ->
    {noreply, pam_pps_sender:reached(Question, Sender)};
handle_info(sweep, Sender) ->
    {noreply, pam_pps_sender:sweep(Sender)};
handle_info({pam_pps_roster, Owner, Contact}, Sender) ->
    _ = pam_pps:submit(roster_changed, Owner, Owner, #{extra => Contact}),
    {noreply, Sender};
handle_info(_Info, Sender) ->
    {noreply, Sender}.

%% The workers stop one after the other, and each is given work as long as it has its name.
-spec terminate(term(), pam_pps_sender:sender()) -> ok.
terminate(Reason, Sender) when Reason == normal; Reason == shutdown ->
    Flushed = pam_pps_sender:flush(rest(Sender)),
    {registered_name, Name} = process_info(self(), registered_name),
    unregister(Name),
    _ = pam_pps_sender:flush(rest(Flushed)),
    ok;
terminate(_Reason, _Sender) ->
    ok.

%%%===================================================================
%%% Internal functions
%%%===================================================================

-spec flush(atom()) -> ok.
flush(Name) ->
    try gen_server:call(Name, flush, ?FLUSH_TIMEOUT)
    catch exit:Reason -> ?WARNING_MSG("Not all that waits to be sent was sent: ~p", [Reason])
    end.

-spec workers() -> tuple().
workers() ->
    case persistent_term:get(?MODULE, undefined) of
	undefined ->
	    Count = 2 * erlang:system_info(schedulers),
	    Names = [list_to_atom("pam_pps_worker_" ++ integer_to_list(N)) || N <- lists:seq(1, Count)],
	    Workers = list_to_tuple(Names),
	    persistent_term:put(?MODULE, Workers),
	    Workers;
	Workers -> Workers
    end.

%% What is there to be done.
-spec rest(pam_pps_sender:sender()) -> pam_pps_sender:sender().
rest(Sender) ->
    receive
	{pam_pps, Finished} ->
	    hand_over(all_finished(Finished, #out{})),
	    rest(Sender);
	{send, Parcels} -> rest(pam_pps_sender:send(Parcels, Sender))
    after 0 -> Sender
    end.

-spec all_finished([pam_pps_nif:outcome()], #out{}) -> #out{}.
all_finished([Outcome | Rest], Out) ->
    all_finished(Rest, finished(Outcome, Out));
all_finished([], Out) ->
    Out.

-spec finished(pam_pps_nif:outcome(), #out{}) -> #out{}.
finished(Outcome, Out) ->
    try
	{_, _, About} = Tag = pam_pps_nif:tag(Outcome),
	Decisions = pam_pps_nif:decisions(Outcome),
	case [Need || {need, _, _, _} = Need <- Decisions] of
	    [] -> carry_out(Decisions, About, Outcome, Out);
	    %% Facts may come from a slow database. What else there is for this service waits inside the engine.
	    Needs ->
		_ = spawn(?MODULE, answer_needs, [Tag, Outcome, Needs]),
		Out
	end
    catch Class:Reason:Stack ->
	    ?ERROR_MSG("An outcome could not be carried out:~n** ~ts", [misc:format_exception(2, Class, Reason, Stack)]),
	    Out
    end.

-spec answer_needs(pam_pps:tag(), pam_pps_nif:outcome(), [pam_pps_nif:decision()]) -> ok.
answer_needs({_, _, About} = Tag, Outcome, Needs) ->
    case pam_pps:resubmit(Outcome, [pam_pps_facts:answer(Need) || Need <- Needs], Tag) of
	ok -> ok;
	{error, Reason} ->
	    ?ERROR_MSG("The engine does not take facts: ~p", [Reason]),
	    refuse(context(Outcome, About))
    end.

%% Of a request that the engine should have answered the head is known, that of the answer turned round, and that it was about
%% publish-subscribe.
-spec context(pam_pps_nif:outcome(), pam_pps:about()) -> pam_pps:context().
context(Outcome, About) ->
    case {pam_pps_nif:context(Outcome), About} of
	{asked, {taken, _, #iq{from = From, to = To} = Answer}} ->
	    Request = #xmlel{name = <<"pubsub">>, attrs = [{<<"xmlns">>, ?NS_PUBSUB}]},
	    {taken, Answer#iq{type = set, from = To, to = From, sub_els = [Request]}};
	{Context, _} -> Context
    end.

-spec carry_out([pam_pps_nif:decision()], pam_pps:about(), pam_pps_nif:outcome(), #out{}) -> #out{}.
carry_out(Decisions, {call, _, _} = About, Outcome, #out{events = [_ | _]} = Out) ->
    %% Who called goes on with his own events.
    pam_pps_events:fire_wanted(lists:reverse(Out#out.events)),
    carry_out(Decisions, About, Outcome, Out#out{events = []});
carry_out(Decisions, About, Outcome, Out) ->
    IsLarge = lists:keymember(multicast, 1, Decisions),
    {Hold, Others} = case IsLarge andalso pam_pps_sender:is_behind() of
			 true -> held(Decisions, About, []);
			 false -> {none, Decisions}
		     end,
    Done = try decisions(Others, #done{outcome = Outcome, about = About, is_large = IsLarge, out = Out, hold = Hold})
	   after pam_pps_sender:release(Hold)
	   end,
    finish(About, Done),
    _ = case Done#done.goes_on of
	    true -> pam_pps_nif:release_context(Outcome);
	    false -> pam_pps_nif:release(Outcome)
	end,
    Done#done.out.

%% The answer that waits for the copies, and the other decisions.
-spec held([pam_pps_nif:decision()], pam_pps:about(), [pam_pps_nif:decision()]) ->
	  {pam_pps_sender:hold() | none, [pam_pps_nif:decision()]}.
held([{route, #xmlel{attrs = Attrs} = El} = Decision | Rest], {taken, Answered, _} = About, Before) ->
    case has_all(Answered, Attrs) andalso type(Attrs) /= request andalso decode(El, About) of
	{ok, #iq{to = To} = Answer} -> {pam_pps_sender:hold(name(lane(To)), Answer), lists:reverse(Before, Rest)};
	_ -> held(Rest, About, [Decision | Before])
    end;
held([Decision | Rest], About, Before) ->
    held(Rest, About, [Decision | Before]);
held([], _About, Before) ->
    {none, lists:reverse(Before)}.

-spec decisions([pam_pps_nif:decision()], #done{}) -> #done{}.
decisions([Decision | Rest], Done) ->
    decisions(Rest, decision(Decision, Done));
decisions([], Done) ->
    Done.

-spec decision(pam_pps_nif:decision(), #done{}) -> #done{}.
decision({route, El}, #done{about = About} = Done) ->
    case decode(El, About) of
	{ok, Stanza} -> route(Stanza, About, Done);
	error -> Done
    end;
decision({multicast, Place, Id, El, Count}, #done{about = About, outcome = Outcome, out = Out, hold = Hold} = Done) ->
    case decode(El, About) of
	{ok, Stanza} -> Done#done{out = multicast({Outcome, Place, Id, Stanza, Count, Hold}, 0, Out)};
	error -> Done
    end;
decision({wake, Time}, Done) ->
    pam_pps:wake_at(Time),
    Done;
decision({event, Place, Name, Service}, #done{out = #out{latest = {Name, Service, IsWanted}}} = Done) ->
    case IsWanted of
	true -> event(Service, Place, Done);
	false -> Done
    end;
decision({event, _, Name, Service} = Decision, #done{out = Out} = Done) ->
    decision(Decision, Done#done{out = Out#out{latest = {Name, Service, pam_pps_events:is_wanted(Name, Service)}}});
decision({reply, Text}, Done) ->
    Done#done{reply = Text};
decision(pass, #done{about = About, outcome = Outcome} = Done) when About == taken; element(1, About) == taken ->
    {taken, Stanza} = context(Outcome, About),
    mod_pam_pps:pass_on(Stanza),
    Done;
decision(_, Done) ->
    Done.

%% Who called runs the hooks himself. Of others the outcome goes on to whoever runs them, unless it is a large one, which would be kept
%% for one event.
-spec event(binary(), non_neg_integer(), #done{}) -> #done{}.
event(_Service, Place, #done{about = {call, _, _}, outcome = Outcome, events = Events} = Done) ->
    Done#done{events = [pam_pps_nif:event(Outcome, Place) | Events]};
event(Service, Place, #done{is_large = true, outcome = Outcome, out = #out{events = Events} = Out} = Done) ->
    Done#done{out = Out#out{events = [{Service, pam_pps_nif:event(Outcome, Place)} | Events]}};
event(Service, Place, #done{outcome = Outcome, out = #out{events = Events} = Out} = Done) ->
    Done#done{out = Out#out{events = [{Service, {Outcome, Place}} | Events]}, goes_on = true}.

-spec finish(pam_pps:about(), #done{}) -> ok.
finish({call, Ref, _}, #done{reply = Reply, events = Events}) ->
    Ref ! {Ref, Reply, lists:reverse(Events)},
    ok;
finish({list, _}, #done{reply = Reply, outcome = Outcome}) ->
    {list, Answer, _} = pam_pps_nif:context(Outcome),
    pam_pps_rooms:listed(Answer, Reply);
finish(_About, _Done) ->
    ok.

-spec decode(xmlel() | binary(), pam_pps:about()) -> {ok, stanza()} | error.
decode(#xmlel{name = <<"iq">>, attrs = Attrs, children = Children} = El, {taken, Answered, Answer}) ->
    Type = type(Attrs),
    case Type /= request andalso has_all(Answered, Attrs) of
	%% The addresses are known already, and preparing them anew would be most of the work.
	true ->
	    {ok, Answer#iq{type = Type, lang = fxml:get_attr_s(<<"xml:lang">>, Attrs),
			   sub_els = [Child || #xmlel{} = Child <- Children]}};
	false -> decode(El)
    end;
decode(El, _About) ->
    decode(El).

-spec decode(xmlel() | binary()) -> {ok, stanza()} | error.
decode(#xmlel{} = El) ->
    try {ok, xmpp:decode(El, ?NS_CLIENT, [ignore_els])}
    catch Class:Reason ->
	    ?ERROR_MSG("The engine gave a stanza that cannot be read: ~ts~n** ~p", [fxml:element_to_binary(El), {Class, Reason}]),
	    error
    end;
decode(Text) ->
    ?ERROR_MSG("The engine gave a stanza that is no element: ~ts", [Text]),
    error.

-spec has_all([attr()], [attr()]) -> boolean().
has_all([Attr | Rest], Attrs) -> lists:member(Attr, Attrs) andalso has_all(Rest, Attrs);
has_all([], _Attrs) -> true.

-spec type([attr()]) -> result | error | request.
type(Attrs) ->
    case fxml:get_attr_s(<<"type">>, Attrs) of
	<<"result">> -> result;
	<<"error">> -> error;
	_ -> request
    end.

%% The answer to a question of this server's own is not sent.
-spec route(stanza(), pam_pps:about(), #done{}) -> #done{}.
route(#iq{id = Id} = IQ, {call, _, Id}, Done) ->
    Done#done{reply = IQ};
route(#iq{id = Id} = IQ, {list, Id}, Done) ->
    Done#done{reply = IQ};
route(Stanza, _About, #done{out = Out} = Done) ->
    Done#done{out = add(name(lane(xmpp:get_to(Stanza))), Stanza, 1, Out)}.

-spec lane(jid()) -> binary().
lane(#jid{luser = <<>>, lserver = Server}) -> Server;
lane(#jid{luser = User, lserver = Server}) -> jid:encode({User, Server, <<>>}).

%% Copies for one recipient keep their order, since they all go through his worker.
-spec multicast({pam_pps_nif:outcome(), non_neg_integer(), binary(), stanza(), non_neg_integer(), pam_pps_sender:hold() | none},
		non_neg_integer(), #out{}) -> #out{}.
multicast({_, _, _, _, Count, _}, From, Out) when From >= Count ->
    Out;
multicast({Outcome, Place, Id, Stanza, _, Hold} = Job, From, Out) ->
    Jids = pam_pps_nif:recipients(Outcome, Place, From, ?BATCH),
    multicast(Job, From + ?BATCH, add_copies(maps:to_list(group(Jids, From, #{})), {Stanza, Id, Hold}, Out)).

-spec add_copies([{atom(), #{binary() => [pam_pps_sender:copy()]}}], {stanza(), binary(), pam_pps_sender:hold() | none}, #out{}) -> #out{}.
add_copies([{Name, Domains} | Rest], {Stanza, Id, Hold} = What, Out) ->
    Copies = [{Domain, lists:reverse(Last)} || {Domain, Last} <- maps:to_list(Domains)],
    Count = lists:sum([length(Some) || {_, Some} <- Copies]),
    add_copies(Rest, What, add(Name, {Stanza, Id, pam_pps_sender:part(Hold), Copies}, Count, Out));
add_copies([], _What, Out) ->
    Out.

%% By who sends them, and their domains.
-spec group([binary()], non_neg_integer(), #{atom() => #{binary() => [pam_pps_sender:copy()]}}) ->
	  #{atom() => #{binary() => [pam_pps_sender:copy()]}}.
group([Jid | Jids], Number, Groups) ->
    [Bare | _] = binary:split(Jid, <<"/">>),
    Name = name(Bare),
    Domain = lists:last(binary:split(Bare, <<"@">>)),
    Domains = maps:get(Name, Groups, #{}),
    group(Jids, Number + 1, Groups#{Name => Domains#{Domain => [{Number, Jid} | maps:get(Domain, Domains, [])]}});
group([], _Number, Groups) ->
    Groups.

-spec add(atom(), pam_pps_sender:parcel(), non_neg_integer(), #out{}) -> #out{}.
add(Name, Parcel, Stanzas, #out{parcels = Parcels, count = Count} = Out) ->
    New = Out#out{parcels = Parcels#{Name => [Parcel | maps:get(Name, Parcels, [])]}, count = Count + Stanzas},
    case New#out.count >= ?BATCH of
	true ->
	    hand_over(New),
	    #out{};
	false -> New
    end.

-spec hand_over(#out{}) -> ok.
hand_over(#out{parcels = Parcels, events = Events}) ->
    pam_pps_events:fire_wanted(lists:reverse(Events)),
    _ = [pam_pps_sender:hand_over(Name, lists:reverse(Last)) || {Name, Last} <- maps:to_list(Parcels)],
    ok.
