%%% @doc The least that a pubsub service can do, for benches/run.py: what is left is the price of the server itself.
%%%
%%% Every request is answered at once, by whoever brings it. Who subscribes is put into a list, and a publish sends one notification
%%% to each on it: one stanza is built and addressed anew for each.
-module(mod_bench_nothing).
-behaviour(gen_mod).

-export([start/2, stop/1, depends/2, mod_options/1, mod_doc/0, route/1]).

-include("xmpp.hrl").

-define(SERVICE, <<"pubsub.localhost">>).

start(Host, _Opts) ->
    ets:new(?MODULE, [named_table, public, ordered_set, {heir, whereis(ejabberd_sup), none}]),
    ejabberd_router:register_route(?SERVICE, Host, {apply, ?MODULE, route}).

stop(_Host) -> ejabberd_router:unregister_route(?SERVICE).
depends(_Host, _Opts) -> [].
mod_options(_Host) -> [].
mod_doc() -> #{desc => [], opts => []}.

route(#iq{type = Type, sub_els = [#xmlel{name = <<"pubsub">>} = Pubsub]} = IQ) when Type == get; Type == set ->
    case fxml:get_subtag(Pubsub, <<"subscribe">>) of
	false -> ok;
	Subscribe -> ets:insert(?MODULE, {ets:info(?MODULE, size), jid:decode(fxml:get_tag_attr_s(<<"jid">>, Subscribe))})
    end,
    ejabberd_router:route(xmpp:make_iq_result(IQ)),
    case fxml:get_subtag(Pubsub, <<"publish">>) of
	false -> ok;
	Publish -> tell(Publish, ets:tab2list(?MODULE))
    end;
route(_Stanza) ->
    ok.

tell(_Publish, []) ->
    ok;
tell(#xmlel{children = Items} = Publish, Subscribers) ->
    List = #xmlel{name = <<"items">>, attrs = [{<<"node">>, fxml:get_tag_attr_s(<<"node">>, Publish)}], children = Items},
    Event = #xmlel{name = <<"event">>, attrs = [{<<"xmlns">>, ?NS_PUBSUB_EVENT}], children = [List]},
    Message = #message{from = jid:make(?SERVICE), type = headline, sub_els = [Event]},
    lists:foreach(
      fun({Number, Jid}) ->
	      ejabberd_router:route(Message#message{to = Jid, id = <<"n-", (integer_to_binary(Number))/binary>>})
      end, Subscribers).
