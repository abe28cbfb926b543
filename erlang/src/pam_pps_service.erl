%%% @doc What a pubsub service is asked that is no publish-subscribe.
-module(pam_pps_service).

-export([unhandled/2]).

-include("xmpp.hrl").
-include("translate.hrl").

%% @doc Answers what the engine passed.
-spec unhandled(binary(), stanza()) -> ok.
unhandled(ServerHost, #iq{type = get, sub_els = [El]} = IQ) ->
    case {xmpp:get_name(El), xmpp:get_ns(El)} of
	{<<"vCard">>, ?NS_VCARD} -> vcard(ServerHost, IQ);
	{<<"ping">>, ?NS_PING} -> ejabberd_router:route(xmpp:make_iq_result(IQ));
	_ -> refuse(IQ)
    end;
unhandled(_ServerHost, #iq{type = set, sub_els = [_]} = IQ) ->
    refuse(IQ);
unhandled(_ServerHost, #iq{type = Type, lang = Lang} = IQ) when Type == get; Type == set ->
    %% RFC 6120, section 8.2.3.
    ejabberd_router:route_error(IQ, xmpp:err_bad_request(?T("A request has exactly one element"), Lang));
unhandled(_ServerHost, #message{type = Type} = Message) when Type /= error, Type /= headline ->
    refuse(Message);
unhandled(_ServerHost, _Stanza) ->
    ok.

%%%===================================================================
%%% Internal functions
%%%===================================================================

-spec vcard(binary(), iq()) -> ok.
vcard(ServerHost, #iq{to = #jid{luser = <<>>}} = IQ) ->
    case gen_mod:get_module_opt(ServerHost, mod_pam_pps, vcard) of
	undefined -> refuse(IQ);
	VCard -> ejabberd_router:route(xmpp:make_iq_result(IQ, VCard))
    end;
vcard(_ServerHost, IQ) ->
    refuse(IQ).

-spec refuse(stanza()) -> ok.
refuse(Stanza) ->
    Text = ?T("The feature requested is not supported by this service"),
    ejabberd_router:route_error(Stanza, xmpp:err_service_unavailable(Text, xmpp:get_lang(Stanza))).
