%%% @doc The processes of this node's engine: its owner and the workers.
-module(pam_pps_sup).
-behaviour(supervisor).

-export([start/0, stop/0, start_link/0, init/1]).

%% @doc Starts the processes below those of ejabberd's modules, unless they are there already.
-spec start() -> ok.
start() ->
    Spec = {?MODULE, {?MODULE, start_link, []}, permanent, infinity, supervisor, [?MODULE]},
    case supervisor:start_child(ejabberd_gen_mod_sup, Spec) of
	{ok, _} -> ok;
	{error, {already_started, _}} -> ok;
	{error, already_present} ->
	    {ok, _} = supervisor:restart_child(ejabberd_gen_mod_sup, ?MODULE),
	    ok
    end.

-spec stop() -> ok.
stop() ->
    _ = supervisor:terminate_child(ejabberd_gen_mod_sup, ?MODULE),
    _ = supervisor:delete_child(ejabberd_gen_mod_sup, ?MODULE),
    ok.

-spec start_link() -> {ok, pid()} | ignore | {error, term()}.
start_link() ->
    supervisor:start_link({local, ?MODULE}, ?MODULE, []).

%% The owner stands last: it is stopped first, and what the engine finishes then still finds its worker.
-spec init([]) -> {ok, {{supervisor:strategy(), 100, 10}, [supervisor:child_spec()]}}.
init([]) ->
    Names = pam_pps_worker:names(),
    Workers = [#{id => Name, start => {pam_pps_worker, start_link, [Name, Place]}, shutdown => 20000}
	       || {Place, Name} <- lists:zip(lists:seq(1, length(Names)), Names)],
    Events = [#{id => Name, start => {pam_pps_events, start_link, [Name]}} || Name <- pam_pps_events:names()],
    Owner = #{id => pam_pps, start => {pam_pps, start_link, []}, shutdown => 60000},
    {ok, {{one_for_one, 100, 10}, Events ++ Workers ++ [Owner]}}.
