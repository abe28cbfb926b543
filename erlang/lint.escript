#!/usr/bin/env escript
%%! -noinput
%%% xref and dialyzer for the beams in some folders, which were compiled with debug_info.
%%%
%%%     lint.escript PLT PATHS FOLDER...      PATHS: folders of the beams that they call, separated by colons
%%%
%%% The table of types (PLT) holds only the modules that are called, so that it is made in seconds; it is kept, and made anew
%%% when these modules are others, or have changed. Exit status 1 if there was anything to say.

main([Plt, Paths | Folders]) ->
    code:add_pathsa(string:lexemes(Paths, ":")),
    code:add_pathsa(Folders),
    Beams = lists:append([filelib:wildcard(filename:join(Folder, "*.beam")) || Folder <- Folders]),
    Lines = xref(Beams) ++ dialyzer(Plt, Beams),
    [io:format("~ts~n", [Line]) || Line <- Lines],
    halt(min(length(Lines), 1)).

%% Calls of what is not there, and functions that nobody calls.
xref(Beams) ->
    {ok, _} = xref:start(lint),
    ok = xref:set_default(lint, [{warnings, false}, {verbose, false}]),
    ok = xref:set_library_path(lint, code:get_path()),
    [{ok, _} = xref:add_module(lint, Beam) || Beam <- Beams],
    {ok, Undefined} = xref:analyze(lint, undefined_function_calls),
    {ok, Unused} = xref:analyze(lint, locals_not_used),
    [io_lib:format("~p: calls ~p:~p/~p, which is not there", [Caller, M, F, A]) || {Caller, {M, F, A}} <- Undefined]
	++ [io_lib:format("~p: nobody calls ~p/~p", [M, F, A]) || {M, F, A} <- Unused].

dialyzer(Plt, Beams) ->
    Called = called(Beams),
    Mark = term_to_binary([{Beam, filelib:file_size(Beam), filelib:last_modified(Beam)} || Beam <- Called]),
    case file:read_file(Plt ++ ".mark") of
	{ok, Mark} -> ok;
	_ ->
	    ok = filelib:ensure_dir(Plt),
	    _ = dialyzer:run([{analysis_type, plt_build}, {output_plt, Plt}, {files, Called}, {report_mode, quiet}]),
	    ok = file:write_file(Plt ++ ".mark", Mark)
    end,
    Wanted = [unmatched_returns, error_handling, missing_return],
    Warnings = dialyzer:run([{analysis_type, succ_typings}, {init_plt, Plt}, {check_plt, false}, {files, Beams}, {from, byte_code},
			     {warnings, Wanted}, {report_mode, quiet}]),
    %% What the called modules call in their turn is unknown; xref looks for what is not there.
    [string:trim(dialyzer:format_warning(Warning)) || Warning <- Warnings, element(1, Warning) /= warn_unknown].

%% The modules that the beams call, and those that bring the types and callbacks of the runtime.
called(Beams) ->
    Own = [list_to_atom(filename:basename(Beam, ".beam")) || Beam <- Beams],
    Calls = [Module || Beam <- Beams, {ok, {_, [{imports, Imports}]}} <- [beam_lib:chunks(Beam, [imports])], {Module, _, _} <- Imports],
    Found = [{Module, code:which(Module)} || Module <- lists:usort(Calls ++ [supervisor, gen_mod, gen_server, jid, xmpp]) -- Own],
    lists:usort([beam(Module, File) || {Module, File} <- Found]).

%% What is loaded before everything else has no file in the code path.
beam(Module, preloaded) -> filename:join([code:lib_dir(erts), "ebin", atom_to_list(Module) ++ ".beam"]);
beam(_Module, File) -> File.
