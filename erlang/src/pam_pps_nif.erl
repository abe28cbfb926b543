%%% @doc The functions of c_src/pam_pps_nif.c. What they promise about memory and threads is in include/pam_pps.h.
-module(pam_pps_nif).

-export([has_interface/1, open/1, close/1, serve/4, unserve/2, features/3, statistics/1, handle/3, submit/8, resubmit/4, tag/1, context/1,
	 release_context/1, release/1, decisions/1, event/2, element/1, recipients/4, log/1, version/0]).
-export_type([engine/0, outcome/0, reason/0, input/0, need/0, affiliation/0, fact/0, decision/0, event/0]).

-include("xmpp.hrl").

-on_load(load/0).

%% As in c_src/pam_pps_nif.c and pam_pps.erl.
-define(INTERFACE, 2).

-opaque engine() :: reference().
-opaque outcome() :: reference().
-type reason() :: atom() | {atom(), binary()}.
-type input() :: stanza | tick | session_ended | account_removed | roster_changed | import | command | room_changed.
-type need() :: account | roster | admin | blocked | import | room | room_info.
-type subscription() :: none | to | from | both.
-type affiliation() :: none | outcast | member | admin | owner.
-type fact() :: {need(), binary(), binary(), boolean()} | {roster, binary(), binary(), subscription(), [binary()]} |
		{room, Who :: binary(), Room :: binary(), affiliation(), Voice :: boolean()} |
		{room_info, Room :: binary(), Name :: binary(), Description :: binary(), Subject :: binary()}.
%% Text is what cannot be read as an element.
-type decision() :: pass | {route, xmlel() | binary()} |
		    {multicast, Place :: non_neg_integer(), Id :: binary(), xmlel() | binary(), Count :: non_neg_integer()} |
		    {need, need(), binary(), binary()} |
		    {wake, integer()} |
		    {event, Place :: non_neg_integer(), Name :: binary(), Service :: binary()} |
		    {reply, binary()}.
%% The payload is empty text where there is none.
-type event() :: {event, Name :: binary(), Service :: binary(), Node :: binary(), Item :: binary(), Actor :: binary(),
		  Payload :: xmlel() | binary()}.

%% @doc Whether this is what the caller expects: the older one stays when a newer one meets older native code.
-spec has_interface(pos_integer()) -> boolean().
has_interface(Number) -> Number == ?INTERFACE.

%% @doc Opens an engine on the store that the options name.
-spec open([{binary(), binary()}]) -> {ok, engine()} | {error, reason()}.
open(_Options) -> erlang:nif_error(not_loaded).

%% @doc Finishes what was submitted and closes the store. A second call finds nothing to do.
-spec close(engine()) -> ok.
close(_Engine) -> erlang:nif_error(not_loaded).

-spec serve(engine(), binary(), accounts | component | rooms, [{binary(), binary()}]) -> ok | {error, reason()}.
serve(_Engine, _Domain, _Kind, _Options) -> erlang:nif_error(not_loaded).

-spec unserve(engine(), binary()) -> ok | {error, reason()}.
unserve(_Engine, _Domain) -> erlang:nif_error(not_loaded).

-spec features(engine(), binary(), account | domain | component | room) -> {ok, binary()} | {error, reason()}.
features(_Engine, _Domain, _Where) -> erlang:nif_error(not_loaded).

-spec statistics(engine()) -> {ok, binary()} | {error, reason()}.
statistics(_Engine) -> erlang:nif_error(not_loaded).

%% @doc Handles one input and waits for the commit, past whatever is queued.
-spec handle(engine(), input(), iodata() | xmlel()) -> {ok, outcome()} | {error, reason()}.
handle(_Engine, _Kind, _Data) -> erlang:nif_error(not_loaded).

%% @doc Queues one input; Pid gets `{pam_pps, [Outcome]}' after the commit, with what else was finished with it. The tag is copied
%% each time it is asked for, so it is short; the context need not be.
-spec submit(engine(), input(), iodata() | xmlel(), binary(), boolean(), pid(), Tag :: term(), Context :: term()) ->
	  ok | {error, reason()}.
submit(_Engine, _Kind, _Data, _Extra, _Privileged, _Pid, _Tag, _Context) -> erlang:nif_error(not_loaded).

%% @doc Gives the input of an outcome with needs back, with the facts. The context stays.
-spec resubmit(outcome(), [fact()], pid(), term()) -> ok | {error, reason()}.
resubmit(_Outcome, _Facts, _Pid, _Tag) -> erlang:nif_error(not_loaded).

%% @doc What was said of an input when it was submitted. Fails for what was handled, and after a release.
-spec tag(outcome()) -> term().
tag(_Outcome) -> erlang:nif_error(not_loaded).

-spec context(outcome()) -> term().
context(_Outcome) -> erlang:nif_error(not_loaded).

%% @doc Frees what was said on submission: whoever needs it no more does not leave that to a collector, which does not see how much
%% it is.
-spec release_context(outcome()) -> ok.
release_context(_Outcome) -> erlang:nif_error(not_loaded).

%% @doc Frees everything. There are no decisions from here on.
-spec release(outcome()) -> ok.
release(_Outcome) -> erlang:nif_error(not_loaded).

%% @doc The event at a place among the decisions.
-spec event(outcome(), non_neg_integer()) -> event().
event(_Outcome, _Place) -> erlang:nif_error(not_loaded).

-spec decisions(outcome()) -> [decision()].
decisions(_Outcome) -> erlang:nif_error(not_loaded).

%% @doc The same as fxml_stream:parse_element/1, at a tenth of its price for what is short: no parser is set up.
-spec element(iodata()) -> xmlel() | error.
element(_Xml) -> erlang:nif_error(not_loaded).

%% @doc Recipients of the multicast at a place, from a place among them on (the first is 0), so many at most.
-spec recipients(outcome(), non_neg_integer(), non_neg_integer(), non_neg_integer()) -> [binary()].
recipients(_Outcome, _Place, _From, _Count) -> erlang:nif_error(not_loaded).

%% @doc Pid gets `{pam_pps, log, Level, Text}' for what the library has to say.
-spec log(pid() | undefined) -> ok.
log(_Pid) -> erlang:nif_error(not_loaded).

-spec version() -> binary().
version() -> erlang:nif_error(not_loaded).

-spec load() -> ok | {error, term()}.
load() ->
    Ebin = filename:dirname(code:which(?MODULE)),
    case erlang:load_nif(filename:join([filename:dirname(Ebin), "priv", "lib", "pam_pps_nif"]), ?INTERFACE) of
	ok -> ok;
	{error, Reason} ->
	    case erlang:module_loaded(?MODULE) of
		true -> {error, {restart_ejabberd, Reason}};
		false -> {error, Reason}
	    end
    end.
