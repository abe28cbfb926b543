-- Statistics through Prosody's metric API: requests of this host by kind and outcome, and the engine's own figures.

local engine = module:require "engine";
local state = engine.state;

local requests = module:metric("counter", "requests", "", "Stanzas given to the engine", { "kind", "outcome" });

-- The engine serves the whole process; the module that loaded last counts for all.
function state.count(_, kind, outcome)
	requests:with_labels(kind, outcome):add(1);
end

local gauges = {};

module:hook_global("stats-update", function ()
	local text = state.engine and state.engine:statistics();
	for name, value in (text or ""):gmatch("([%w_]+) (%S+)") do
		value = tonumber(value);
		if value then
			gauges[name] = gauges[name] or module:metric("gauge", "engine_" .. name, "", "Engine: " .. name:gsub("_", " "), {});
			gauges[name]:with_labels():set(value);
		end
	end
end);

return {};
