-- Prosody's environment for modules. What a module defines globally is its interface.
std = "lua52"
max_line_length = 130
read_globals = { "prosody" }
globals = { "module" }
files["mod_pam_pps.lua"] = { globals = { "new_service", "fire", "on_event" } }
files["pam_pps/rooms.lib.lua"] = { globals = { "new_service", "fire", "on_event", "publish" } }
files["replacements/mod_pep.lua"] = { globals = { "get_pep_service", "check_node_config" } }
files["replacements/mod_pubsub/"] = { globals = { "service", "get_service", "set_service" } }
files["spec/"] = { std = "+busted" }
exclude_files = { "build" }
