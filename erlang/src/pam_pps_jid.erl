%%% @doc Addresses that the engine gives.
-module(pam_pps_jid).

-export([decode/1]).

-include("xmpp.hrl").

%% @doc The same as jid:decode/1, and fails as it does. The engine has prepared them, and of those in the plainest characters it is
%% certain that preparing them once more changes nothing: those are taken as they are.
-spec decode(binary()) -> jid().
decode(Text) ->
    [Bare | Resource] = binary:split(Text, <<"/">>),
    [Server | User] = lists:reverse(binary:split(Bare, <<"@">>)),
    case is_domain(Server) andalso is_user(User) andalso is_resource(Resource) of
	true -> make(User, Server, Resource);
	false -> jid:decode(Text)
    end.

-spec make([binary()], binary(), [binary()]) -> jid().
make(Users, Server, Resources) ->
    User = iolist_to_binary(Users),
    Resource = iolist_to_binary(Resources),
    #jid{user = User, server = Server, resource = Resource, luser = User, lserver = Server, lresource = Resource}.

-define(IS_PLAIN(C), (C >= $a andalso C =< $z orelse C >= $0 andalso C =< $9 orelse C == $- orelse C == $_)).
-define(LONGEST, 1023).

%% Labels with a dot between them.
-spec is_domain(binary()) -> boolean().
is_domain(<<C, Rest/binary>> = Text) when ?IS_PLAIN(C), byte_size(Text) =< ?LONGEST -> is_rest_of_domain(Rest);
is_domain(_) -> false.

-spec is_rest_of_domain(binary()) -> boolean().
is_rest_of_domain(<<C, Rest/binary>>) when ?IS_PLAIN(C) -> is_rest_of_domain(Rest);
is_rest_of_domain(<<$., C, Rest/binary>>) when ?IS_PLAIN(C) -> is_rest_of_domain(Rest);
is_rest_of_domain(Rest) -> Rest == <<>>.

-spec is_user([binary()]) -> boolean().
is_user([]) -> true;
is_user([User]) -> User /= <<>> andalso byte_size(User) =< ?LONGEST andalso is_rest_of_user(User).

-spec is_rest_of_user(binary()) -> boolean().
is_rest_of_user(<<C, Rest/binary>>) when ?IS_PLAIN(C); C == $. -> is_rest_of_user(Rest);
is_rest_of_user(Rest) -> Rest == <<>>.

-spec is_resource([binary()]) -> boolean().
is_resource([]) -> true;
is_resource([Resource]) -> Resource /= <<>> andalso byte_size(Resource) =< ?LONGEST andalso is_rest_of_resource(Resource).

-spec is_rest_of_resource(binary()) -> boolean().
is_rest_of_resource(<<C, Rest/binary>>) when C > $ , C =< $~ -> is_rest_of_resource(Rest);
is_rest_of_resource(Rest) -> Rest == <<>>.
