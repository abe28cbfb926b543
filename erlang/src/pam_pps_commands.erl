%%% @doc Commands for administrators, through ejabberdctl and the HTTP API. What they say is the engine's word, the same on every
%%% server.
-module(pam_pps_commands).

-export([register/0, unregister/0]).
%% commands
-export([command/1, list_nodes/1, delete_node/2, publish/3, list_subscriptions/2, end_subscription/3, list_pam/1, list_public/1,
	 list_public_subscribers/2, integrity_check/0, vacuum/0, statistics/0, import/1]).

-include("ejabberd_commands.hrl").

-spec register() -> ok.
register() ->
    ejabberd_commands:register_commands(?MODULE, specs()).

-spec unregister() -> ok.
unregister() ->
    ejabberd_commands:unregister_commands(specs()).

%%%===================================================================
%%% Commands
%%%===================================================================

-spec command(binary()) -> [binary()].
command(Text) ->
    case pam_pps:command(Text) of
	{ok, <<"error: ", Why/binary>>} -> throw({error, binary_to_list(Why)});
	{ok, Reply} -> binary:split(Reply, <<"\n">>, [global, trim_all]);
	{error, Reason} -> throw({error, failure(Reason)})
    end.

-spec list_nodes(binary()) -> [binary()].
list_nodes(Service) -> words([<<"list-nodes">>, Service]).

-spec delete_node(binary(), binary()) -> [binary()].
delete_node(Service, Node) -> words([<<"delete-node">>, Service, Node]).

-spec publish(binary(), binary(), binary()) -> [binary()].
publish(Service, Node, Payload) -> words([<<"publish">>, Service, Node, Payload]).

-spec list_subscriptions(binary(), binary()) -> [binary()].
list_subscriptions(Service, Node) -> words([<<"list-subscriptions">>, Service, Node]).

-spec end_subscription(binary(), binary(), binary()) -> [binary()].
end_subscription(Service, Node, Jid) -> words([<<"end-subscription">>, Service, Node, Jid]).

-spec list_pam(binary()) -> [binary()].
list_pam(Account) -> words([<<"list-pam">>, Account]).

-spec list_public(binary()) -> [binary()].
list_public(Account) -> words([<<"list-public">>, Account]).

-spec list_public_subscribers(binary(), binary()) -> [binary()].
list_public_subscribers(Service, Node) -> words([<<"list-public-subscribers">>, Service, Node]).

-spec integrity_check() -> [binary()].
integrity_check() -> words([<<"integrity-check">>]).

-spec vacuum() -> [binary()].
vacuum() -> words([<<"vacuum">>]).

-spec statistics() -> [binary()].
statistics() ->
    case pam_pps:statistics() of
	{ok, Text} ->
	    Waiting = <<"waiting_stanzas ", (integer_to_binary(pam_pps_sender:waiting()))/binary>>,
	    binary:split(Text, <<"\n">>, [global, trim_all]) ++ [Waiting];
	{error, Reason} -> throw({error, failure(Reason)})
    end.

-spec import(binary()) -> {ok | error, string()}.
import(Host) ->
    case pam_pps:domain(Host) of
	{accounts, _} ->
	    {Services, Failed} = pam_pps_import:import_host(Host),
	    Text = lists:flatten(io_lib:format("~b services, ~b of them failed", [Services, Failed])),
	    {case Failed of 0 -> ok; _ -> error end, Text};
	_ -> {error, "This host is not served by mod_pam_pps"}
    end.

%%%===================================================================
%%% Internal functions
%%%===================================================================

%% Tabs are what separates words: there are none in addresses, and none that the engine would take in the name of a node.
-spec words([binary()]) -> [binary()].
words(Words) ->
    case lists:any(fun(Word) -> Word == <<>> orelse binary:match(Word, [<<"\t">>, <<"\n">>]) /= nomatch end, Words) of
	true -> throw({error, "An argument is empty, or has a tab or a line break in it"});
	false -> command(iolist_to_binary(lists:join(<<"\t">>, Words)))
    end.

-spec failure(term()) -> string().
failure(no_answer) -> "The engine refuses that; the log says why";
failure(Reason) -> lists:flatten(io_lib:format("~p", [Reason])).

-spec specs() -> [ejabberd_commands()].
specs() ->
    Service = {service, "Service: a domain, or the JID of an account or a room", <<"pubsub.example.org">>},
    Node = {node, "NodeID", <<"urn:xmpp:microblog:0">>},
    Account = {account, "JID of an account", <<"juliet@example.org">>},
    [lines(pam_pps_command, command, "Run a command of the engine; \"help\" lists them", [{command, "The command", <<"help">>}]),
     lines(pam_pps_list_nodes, list_nodes, "List the nodes of a service", [Service]),
     lines(pam_pps_delete_node, delete_node, "Delete a node and tell its subscribers", [Service, Node]),
     lines(pam_pps_publish, publish, "Publish an item as the service itself",
	   [Service, Node, {payload, "The element", <<"<note xmlns='urn:example:note'>Tonight</note>">>}]),
     lines(pam_pps_list_subscriptions, list_subscriptions, "List the subscriptions to a node", [Service, Node]),
     lines(pam_pps_end_subscription, end_subscription, "End the subscriptions of a JID to a node",
	   [Service, Node, {jid, "JID of the subscriber, as it is listed", <<"romeo@example.org">>}]),
     lines(pam_pps_list_pam, list_pam, "List what an account is subscribed to (XEP-0376)", [Account]),
     lines(pam_pps_list_public, list_public, "List what an account is publicly subscribed to (XEP-0465)", [Account]),
     lines(pam_pps_list_public_subscribers, list_public_subscribers, "List who is publicly subscribed to a node (XEP-0465)",
	   [Service, Node]),
     lines(pam_pps_integrity_check, integrity_check, "Look for damage in the database; requests wait meanwhile", []),
     lines(pam_pps_vacuum, vacuum, "Give the room of what was deleted back to the disk; requests wait meanwhile", []),
     lines(pam_pps_statistics, statistics, "Figures of the engine", []),
     (lines(pam_pps_import, import, "Take over what mod_pubsub kept for a virtual host", [{host, "Virtual host", <<"example.org">>}]))
     #ejabberd_commands{result = {res, restuple}, result_example = {ok, "12 services, 0 of them failed"},
			result_desc = "How many services there are, and how many could not be taken over"}].

-spec lines(atom(), atom(), string(), [{atom(), string(), binary()}]) -> ejabberd_commands().
lines(Name, Function, Text, Arguments) ->
    #ejabberd_commands{name = Name, tags = [pubsub], desc = Text, module = ?MODULE, function = Function,
		       args = [{Argument, binary} || {Argument, _, _} <- Arguments],
		       args_desc = [Meaning || {_, Meaning, _} <- Arguments],
		       args_example = [Example || {_, _, Example} <- Arguments],
		       result = {lines, {list, {line, string}}},
		       result_desc = "Lines, their parts separated by tabs",
		       result_example = ["urn:xmpp:microblog:0\topen\t12 items\t3 subscribers"]}.
