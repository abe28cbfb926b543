%%% @doc Sends what a worker has to send, no faster than it is written.
%%%
%%% All that goes to a component, or to another server, passes one process of ejabberd or a few, which keep what they have not written
%%% yet as whole stanzas; and a fan-out makes those several times faster than they are written. So such a process is asked from time
%%% to time whether it has come that far, and what is beyond waits here, where a copy is no more than an address. Each path, from a
%%% service to a domain, has a queue of its own, and what goes to one's own users is not held back. Who published is answered behind
%%% what waits, for a while at least: so clients that wait for answers do not run ahead.
%%%
%%% That a connection to another server is not established yet cannot be seen: its process keeps everything, and answers.
-module(pam_pps_sender).

-export([new/2, hand_over/2, send/2, reached/2, sweep/1, flush/1]).
-export([waiting/0, is_behind/0, is_full/0, hold/2, part/1, release/1]).

-include("logger.hrl").
-include("xmpp.hrl").
-include("ejabberd_router.hrl").

-export_type([sender/0, parcel/0, copy/0, hold/0, question/0]).

%% Stanzas on a path between two questions, of all workers together, and at least of each. So many again may be on their way before
%% the first question is answered.
-define(LEAD, 200).
-define(LEAST, 10).
%% Stanzas that wait on this node before no more publications are taken.
-define(FULL, 1000000).
%% Milliseconds from the end of one sweep to the next. Time is counted in sweeps: what came before one is handled before it.
-define(SWEEP, 1000).
%% Sweeps without an answer until publishers are answered all the same, and until everything is sent all the same, since who is asked
%% does not know the question; and sweeps until he is asked again.
-define(PATIENCE, 5).
-define(SILENCE, 60).
-define(PAUSE, 60).

%% The domain of the service, and that of the recipients.
-type path() :: {binary(), binary()}.
%% A stanza, or its copies by the domains of the recipients.
-type parcel() :: stanza() | {stanza(), Id :: binary(), hold() | none, [{Domain :: binary(), [copy()]}]}.
-type copy() :: {non_neg_integer(), Jid :: binary()}.
%% What is sent on a path.
-type piece() :: stanza() | {stanza(), Id :: binary(), hold() | none, [copy()]}.
-type question() :: {?MODULE, path(), integer()}.

%% What is sent on a path: stanzas since the last question; that question, how many processes have not answered it, and how many sweeps
%% came since; who was asked; what waits, and how many stanzas that is.
-record(flow, {sent = 0 :: non_neg_integer(), asked = none :: none | {integer(), pos_integer(), non_neg_integer()},
	       writers = [] :: [pid()], waiting = queue:new() :: queue:queue(piece()), count = 0 :: non_neg_integer()}).
%% For so many sweeps nobody is asked, and nothing waits.
-record(free, {sweeps :: non_neg_integer()}).
%% `slot': where others see how much waits. `lead': stanzas between two questions.
-record(sender, {slot :: pos_integer(), lead :: pos_integer(), flows = #{} :: #{path() => #flow{} | #free{}},
		 count = 0 :: non_neg_integer(), sweep_is_due = false :: boolean()}).
-opaque sender() :: #sender{}.
%% The parts that an answer waits for, the worker that sends it, and the answer.
-opaque hold() :: {atomics:atomics_ref(), atom(), parcel()}.

%%%===================================================================
%%% API
%%%===================================================================

%% @doc Number `Slot' of `Count'. They are made one after the other.
-spec new(pos_integer(), pos_integer()) -> sender().
new(Slot, Count) ->
    case persistent_term:get(?MODULE, undefined) of
	undefined -> persistent_term:put(?MODULE, atomics:new(Count, []));
	_ -> ok
    end,
    atomics:put(counts(), Slot, 0),
    #sender{slot = Slot, lead = max(?LEAST, ?LEAD div Count)}.

%% @doc Gives parcels to the worker that sends them.
-spec hand_over(atom(), [parcel()]) -> ok.
hand_over(Worker, Parcels) ->
    case whereis(Worker) of
	undefined ->
	    _ = [send_all(Piece) || Parcel <- Parcels, {_, Piece} <- pieces(Parcel)],
	    ok;
	Pid ->
	    Pid ! {send, Parcels},
	    ok
    end.

-spec send([parcel()], sender()) -> sender().
send([Parcel | Rest], Sender) ->
    send(Rest, send_pieces(pieces(Parcel), Sender));
send([], Sender) ->
    sweep_later(Sender).

%% @doc Who was asked has handled what was sent before the question.
-spec reached(question(), sender()) -> sender().
reached({?MODULE, Path, Number}, #sender{flows = Flows} = Sender) ->
    case Flows of
	#{Path := #flow{asked = {Number, 1, _}} = Flow} -> go_on(Path, Flow, Flow#flow{asked = none}, Sender);
	#{Path := #flow{asked = {Number, Left, Sweeps}} = Flow} ->
	    Sender#sender{flows = Flows#{Path := Flow#flow{asked = {Number, Left - 1, Sweeps}}}};
	_ -> Sender
    end.

%% @doc Comes as the message `sweep': what is not used is forgotten.
-spec sweep(sender()) -> sender().
sweep(#sender{flows = Flows} = Sender) ->
    sweep_later(swept(maps:to_list(Flows), Sender#sender{sweep_is_due = false})).

%% @doc Sends all that waits.
-spec flush(sender()) -> sender().
flush(#sender{flows = Flows} = Sender) ->
    flushed(maps:to_list(Flows), Sender).

%% @doc Stanzas that wait, in all senders of this node.
-spec waiting() -> non_neg_integer().
waiting() ->
    Counts = counts(),
    waiting(Counts, maps:get(size, atomics:info(Counts)), 0).

%% @doc Whether any does.
-spec is_behind() -> boolean().
is_behind() ->
    waiting() > 0.

%% @doc Whether so much waits that no more should be made.
-spec is_full() -> boolean().
is_full() ->
    waiting() >= ?FULL.

%% @doc An answer that goes when all its parts are released. It has one part now, that of the caller.
-spec hold(atom(), parcel()) -> hold().
hold(Worker, Answer) ->
    Parts = atomics:new(1, []),
    atomics:put(Parts, 1, 1),
    {Parts, Worker, Answer}.

%% @doc With one part more.
-spec part(hold() | none) -> hold() | none.
part(none) ->
    none;
part({Parts, _, _} = Hold) ->
    atomics:add(Parts, 1, 1),
    Hold.

-spec release(hold() | none) -> ok.
release(none) ->
    ok;
release({Parts, Worker, Answer}) ->
    case atomics:sub_get(Parts, 1, 1) of
	0 -> hand_over(Worker, [Answer]);
	_ -> ok
    end.

%%%===================================================================
%%% Internal functions
%%%===================================================================

-spec counts() -> atomics:atomics_ref().
counts() ->
    persistent_term:get(?MODULE).

-spec waiting(atomics:atomics_ref(), non_neg_integer(), non_neg_integer()) -> non_neg_integer().
waiting(_Counts, 0, Sum) -> Sum;
waiting(Counts, Slot, Sum) -> waiting(Counts, Slot - 1, Sum + max(0, atomics:get(Counts, Slot))).

%% By the paths they go. The part of the parcel is that of the first one.
-spec pieces(parcel()) -> [{path(), piece()}].
pieces({Stanza, Id, Hold, [{Domain, Copies} | Rest]}) ->
    [{path(Stanza, Domain), {Stanza, Id, Hold, Copies}} |
     [{path(Stanza, Other), {Stanza, Id, part(Hold), More}} || {Other, More} <- Rest]];
pieces(Stanza) ->
    [{path(Stanza, (xmpp:get_to(Stanza))#jid.lserver), Stanza}].

-spec path(stanza(), binary()) -> path().
path(Stanza, Domain) ->
    {(xmpp:get_from(Stanza))#jid.lserver, Domain}.

-spec send_pieces([{path(), piece()}], sender()) -> sender().
send_pieces([{Path, Piece} | Rest], #sender{flows = Flows} = Sender) ->
    send_pieces(Rest, case Flows of
			  #{Path := #flow{} = Flow} -> go_on(Path, Flow, add(Piece, Flow), Sender);
			  #{Path := #free{}} ->
			      send_all(Piece),
			      Sender;
			  _ -> go_on(Path, #flow{}, add(Piece, #flow{}), Sender)
		      end);
send_pieces([], Sender) ->
    Sender.

-spec add(piece(), #flow{}) -> #flow{}.
add({Stanza, Id, Hold, Copies}, #flow{asked = {_, _, Sweeps}, waiting = Waiting, count = Count} = Flow) when Sweeps >= ?PATIENCE ->
    release(Hold),
    Flow#flow{waiting = queue:in({Stanza, Id, none, Copies}, Waiting), count = Count + length(Copies)};
add(Piece, #flow{waiting = Waiting, count = Count} = Flow) ->
    Flow#flow{waiting = queue:in(Piece, Waiting), count = Count + size_of(Piece)}.

-spec size_of(piece()) -> pos_integer().
size_of({_, _, _, Copies}) -> length(Copies);
size_of(_Stanza) -> 1.

%% Sends what may be sent.
-spec go_on(path(), #flow{}, #flow{}, sender()) -> sender().
go_on(Path, Old, Flow, #sender{lead = Lead} = Sender) ->
    stored(Path, Old, sent(Path, Flow, Lead), Sender).

-spec sent(path(), #flow{}, pos_integer()) -> #flow{} | #free{}.
sent(Path, #flow{sent = Lead, asked = none} = Flow, Lead) ->
    Writers = writers(Path),
    Number = erlang:unique_integer(),
    case ask(Path, Number, Writers, 0) of
	0 ->
	    send_waiting(Flow),
	    %% Perhaps there is somebody soon.
	    #free{sweeps = 1};
	Left -> sent(Path, Flow#flow{sent = 0, asked = {Number, Left, 0}, writers = Writers}, Lead)
    end;
sent(_Path, #flow{sent = Lead} = Flow, Lead) ->
    Flow;
sent(Path, #flow{sent = Sent, waiting = Waiting, count = Count} = Flow, Lead) ->
    case queue:out(Waiting) of
	{empty, _} -> Flow;
	{{value, Piece}, Rest} ->
	    case send_some(Piece, Lead - Sent) of
		{all, Room} -> sent(Path, Flow#flow{sent = Lead - Room, waiting = Rest, count = Count - (Lead - Sent - Room)}, Lead);
		Left -> sent(Path, Flow#flow{sent = Lead, waiting = queue:in_r(Left, Rest), count = Count - (Lead - Sent)}, Lead)
	    end
    end.

%% What every process that follows OTP's principles answers in its turn, and what changes nothing there: how many were asked, none of
%% which this process would have to wait for. Without a monitor: its signals cost whoever writes more than the stanzas' messages.
-spec ask(path(), integer(), [pid()], non_neg_integer()) -> non_neg_integer().
ask(Path, Number, [Pid | Pids], Asked) ->
    From = {self(), {?MODULE, Path, Number}},
    case erlang:send(Pid, {system, From, {debug, {statistics, get}}}, [nosuspend, noconnect]) of
	ok -> ask(Path, Number, Pids, Asked + 1);
	_ -> ask(Path, Number, Pids, Asked)
    end;
ask(_Path, _Number, [], Asked) ->
    Asked.

%% The processes that write what goes to other domains. The server uses those of other nodes if there are none here.
-spec writers(path()) -> [pid()].
writers({From, To} = Path) ->
    try (ejabberd_router:get_backend()):find_routes(To) of
	{ok, []} -> nearest(ejabberd_s2s:get_connections_pids(Path));
	{ok, Routes} -> nearest([Pid || #route{pid = Pid, local_hint = Hint} <- Routes, is_pid(Pid), not is_tuple(Hint)]);
	{error, _} -> []
    catch Class:Reason ->
	    ?DEBUG("The route from ~ts to ~ts is not known: ~p", [From, To, {Class, Reason}]),
	    []
    end.

-spec nearest([pid()]) -> [pid()].
nearest(Pids) ->
    case [Pid || Pid <- Pids, node(Pid) == node()] of
	[] -> Pids;
	Local -> Local
    end.

-spec send_some(piece(), pos_integer()) -> {all, Room :: integer()} | piece().
send_some({Stanza, Id, Hold, Copies}, Room) ->
    send_copies(Copies, Stanza, Id, Hold, Room);
send_some(Stanza, Room) ->
    ejabberd_router:route(Stanza),
    {all, Room - 1}.

%% A negative room never ends.
-spec send_copies([copy()], stanza(), binary(), hold() | none, integer()) -> {all, Room :: integer()} | piece().
send_copies([], _Stanza, _Id, Hold, Room) ->
    release(Hold),
    {all, Room};
send_copies(Copies, Stanza, Id, Hold, 0) ->
    {Stanza, Id, Hold, Copies};
send_copies([{Number, Jid} | Rest], Stanza, Id, Hold, Room) ->
    send_copy(Stanza, Id, Number, Jid),
    send_copies(Rest, Stanza, Id, Hold, Room - 1).

-spec send_copy(stanza(), binary(), non_neg_integer(), binary()) -> ok.
send_copy(Stanza, Id, Number, Jid) ->
    try pam_pps_jid:decode(Jid) of
	To -> ejabberd_router:route(set_id(xmpp:set_to(Stanza, To), <<Id/binary, $-, (integer_to_binary(Number))/binary>>))
    catch error:{bad_jid, _} -> ?WARNING_MSG("Not sent to ~ts, which is no JID", [Jid])
    end.

-spec set_id(stanza(), binary()) -> stanza().
set_id(#message{} = Stanza, Id) -> Stanza#message{id = Id};
set_id(#presence{} = Stanza, Id) -> Stanza#presence{id = Id};
set_id(#iq{} = Stanza, Id) -> Stanza#iq{id = Id}.

-spec send_all(piece()) -> ok.
send_all({Stanza, Id, Hold, Copies}) ->
    {all, _} = send_copies(Copies, Stanza, Id, Hold, -1),
    ok;
send_all(Stanza) ->
    ejabberd_router:route(Stanza).

-spec send_waiting(#flow{}) -> ok.
send_waiting(#flow{waiting = Waiting}) ->
    _ = [send_all(Piece) || Piece <- queue:to_list(Waiting)],
    ok.

-spec swept([{path(), #flow{} | #free{}}], sender()) -> sender().
swept([{Path, Flow} | Rest], Sender) ->
    swept(Rest, swept(Path, Flow, Sender));
swept([], Sender) ->
    Sender.

%% What waits on a path waits for an answer.
-spec swept(path(), #flow{} | #free{}, sender()) -> sender().
swept(Path, #flow{asked = none}, Sender) ->
    forgotten(Path, Sender);
swept(Path, #flow{asked = {Number, Left, Sweeps}, writers = Writers} = Flow, Sender) ->
    Asked = Flow#flow{asked = {Number, Left, Sweeps + 1}},
    case {have_ended(Writers), Sweeps + 1} of
	{true, _} -> go_on(Path, Flow, Flow#flow{asked = none}, Sender);
	{false, ?PATIENCE} -> stored(Path, Flow, Asked#flow{waiting = released(Flow#flow.waiting)}, Sender);
	{false, ?SILENCE} ->
	    send_waiting(Flow),
	    stored(Path, Flow, #free{sweeps = ?PAUSE}, Sender);
	_ -> stored(Path, Flow, Asked, Sender)
    end;
swept(Path, #free{sweeps = 1}, Sender) ->
    forgotten(Path, Sender);
swept(Path, #free{sweeps = Sweeps}, #sender{flows = Flows} = Sender) ->
    Sender#sender{flows = Flows#{Path := #free{sweeps = Sweeps - 1}}}.

%% One of them, or the node that it was on.
-spec have_ended([pid()]) -> boolean().
have_ended([Pid | Pids]) when node(Pid) == node() -> not is_process_alive(Pid) orelse have_ended(Pids);
have_ended([Pid | Pids]) -> not lists:member(node(Pid), nodes()) orelse have_ended(Pids);
have_ended([]) -> false.

%% The answers that wait for what waits here go.
-spec released(queue:queue(piece())) -> queue:queue(piece()).
released(Waiting) ->
    queue:from_list([released_piece(Piece) || Piece <- queue:to_list(Waiting)]).

-spec released_piece(piece()) -> piece().
released_piece({Stanza, Id, Hold, Copies}) ->
    release(Hold),
    {Stanza, Id, none, Copies};
released_piece(Stanza) ->
    Stanza.

-spec flushed([{path(), #flow{} | #free{}}], sender()) -> sender().
flushed([{Path, #flow{} = Flow} | Rest], Sender) ->
    send_waiting(Flow),
    flushed(Rest, stored(Path, Flow, #free{sweeps = 1}, Sender));
flushed([_ | Rest], Sender) ->
    flushed(Rest, Sender);
flushed([], Sender) ->
    Sender.

-spec forgotten(path(), sender()) -> sender().
forgotten(Path, #sender{flows = Flows} = Sender) ->
    Sender#sender{flows = maps:remove(Path, Flows)}.

-spec stored(path(), #flow{}, #flow{} | #free{}, sender()) -> sender().
stored(Path, #flow{count = Before}, New, #sender{flows = Flows, slot = Slot, count = Count} = Sender) ->
    case count(New) - Before of
	0 -> Sender#sender{flows = Flows#{Path => New}};
	More ->
	    atomics:put(counts(), Slot, Count + More),
	    Sender#sender{flows = Flows#{Path => New}, count = Count + More}
    end.

-spec count(#flow{} | #free{}) -> non_neg_integer().
count(#flow{count = Count}) -> Count;
count(#free{}) -> 0.

-spec sweep_later(sender()) -> sender().
sweep_later(#sender{flows = Flows, sweep_is_due = false} = Sender) when map_size(Flows) > 0 ->
    _ = erlang:send_after(?SWEEP, self(), sweep),
    Sender#sender{sweep_is_due = true};
sweep_later(Sender) ->
    Sender.
