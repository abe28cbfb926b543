%%% @doc The ad-hoc command (XEP-0050) by which administrators of a virtual host publish as one of its rooms. It is the one that
%%% Prosody's side has; mod_adhoc lists it.
-module(pam_pps_room_command).

-export([hook/2]).
%% hooks
-export([adhoc_local_items/4, adhoc_local_commands/4]).

-include("xmpp.hrl").
-include("translate.hrl").

-define(COMMAND, <<"urn:pam_pps:publish-as-room">>).

-spec hook(fun((atom(), binary(), module(), atom(), integer()) -> term()), binary()) -> ok.
hook(Do, Host) ->
    Do(adhoc_local_items, Host, ?MODULE, adhoc_local_items, 60),
    Do(adhoc_local_commands, Host, ?MODULE, adhoc_local_commands, 60),
    ok.

-spec adhoc_local_items(mod_disco:items_acc(), jid(), jid(), binary()) -> mod_disco:items_acc().
adhoc_local_items({error, _} = Error, _From, _To, _Lang) ->
    Error;
adhoc_local_items(Acc, From, #jid{lserver = Host} = To, _Lang) ->
    Known = case Acc of {result, Items} -> Items; empty -> [] end,
    {result, Known ++ [#disco_item{jid = To, node = ?COMMAND, name = <<"Publish as a room">>}
		       || pam_pps_facts:is_admin(Host, From)]}.

-spec adhoc_local_commands(empty | adhoc_command() | {error, stanza_error()}, jid(), jid(), adhoc_command()) ->
	  empty | adhoc_command() | {error, stanza_error()}.
adhoc_local_commands(_Acc, From, #jid{lserver = Host}, #adhoc_command{node = ?COMMAND, lang = Lang} = Request) ->
    case pam_pps_facts:is_admin(Host, From) of
	true -> xmpp_util:make_adhoc_response(Request, run(Request, Host));
	false -> {error, xmpp:err_forbidden(?T("Access denied by service policy"), Lang)}
    end;
adhoc_local_commands(Acc, _From, _To, _Request) ->
    Acc.

%%%===================================================================
%%% Internal functions
%%%===================================================================

-spec run(adhoc_command(), binary()) -> adhoc_command().
run(#adhoc_command{action = cancel}, _Host) ->
    #adhoc_command{status = canceled};
run(#adhoc_command{xdata = #xdata{type = submit} = Form}, Host) ->
    Payload = lists:join($\n, xmpp_util:get_xdata_values(<<"payload">>, Form)),
    case fxml_stream:parse_element(iolist_to_binary(Payload)) of
	#xmlel{} = El -> publish(value(<<"room">>, Form), value(<<"node">>, Form), El, value(<<"id">>, Form), Host);
	{error, _} -> done(error, <<"The payload is no XML">>)
    end;
run(_Request, _Host) ->
    #adhoc_command{status = executing, actions = #adhoc_actions{execute = complete, complete = true}, xdata = form()}.

-spec publish(binary(), binary(), xmlel(), binary(), binary()) -> adhoc_command().
publish(_Room, <<>>, _Payload, _Id, _Host) ->
    done(error, <<"No node is named">>);
publish(Text, Node, Payload, Id, Host) ->
    try jid:decode(Text) of
	#jid{lserver = Domain} = Room ->
	    case pam_pps:domain(Domain) of
		{rooms, Host} -> published(Text, pam_pps_rooms:publish(Room, Node, Payload, Id));
		_ -> published(Text, {error, 'item-not-found'})
	    end
    catch error:{bad_jid, _} -> done(error, <<"The room is no JID">>)
    end.

-spec published(binary(), {ok, binary()} | {error, term()}) -> adhoc_command().
published(_Room, {ok, Id}) ->
    done(info, <<"Published ", Id/binary>>);
published(Room, {error, Why}) ->
    done(error, iolist_to_binary(io_lib:format("~ts does not take it: ~p", [Room, Why]))).

-spec done(info | error, binary()) -> adhoc_command().
done(Type, Text) ->
    #adhoc_command{status = completed, notes = [#adhoc_note{type = Type, data = Text}]}.

-spec value(binary(), xdata()) -> binary().
value(Name, Form) ->
    case xmpp_util:get_xdata_values(Name, Form) of
	[Value | _] -> Value;
	[] -> <<>>
    end.

-spec form() -> xdata().
form() ->
    Field = fun(Type, Name, Label, Required) ->
		    #xdata_field{type = Type, var = Name, label = Label, required = Required}
	    end,
    #xdata{type = form, title = <<"Publish as a room">>,
	   instructions = [<<"Publishes an item as the room itself: everyone in it who asked for events of the node is told.">>],
	   fields = [#xdata_field{type = hidden, var = <<"FORM_TYPE">>, values = [?COMMAND]},
		     Field('jid-single', <<"room">>, <<"The room">>, true),
		     Field('text-single', <<"node">>, <<"The node">>, true),
		     Field('text-single', <<"id">>, <<"The item's identifier; one is made if there is none">>, false),
		     Field('text-multi', <<"payload">>, <<"The payload, as XML">>, true)]}.
