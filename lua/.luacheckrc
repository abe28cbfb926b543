-- Prosody's environment for modules.
std = "lua52"
max_line_length = 130
read_globals = { "prosody", "hosts", "module" }
files["mod_pam_pps.lua"] = { allow_defined_top = true, globals = { "module" } }
files["pam_pps/"] = { globals = { "module" } }
files["replacements/"] = { allow_defined_top = true, globals = { "module" } }
files["spec/"] = { std = "+busted", globals = { "load_binding" } }
exclude_files = { "build" }
