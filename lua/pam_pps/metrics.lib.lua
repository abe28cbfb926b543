-- Statistics through Prosody's metric API: requests of this host by kind and outcome, and the engine's own figures.

local engine = module:require "engine";
local state = engine.state;

-- Elements that name what is asked; all else counts as the kind of its stanza, so that strangers cannot invent names.
local actions = {
	affiliations = true, command = true, configure = true, create = true, default = true, delete = true, items = true;
	options = true, publish = true, purge = true, query = true, retract = true, subscribe = true, subscriptions = true;
	unsubscribe = true;
};

local requests = module:metric("counter", "requests", "", "Stanzas given to the engine", { "kind", "outcome" });

local function kind_of(stanza) --> text
	local child = stanza.tags[1];
	local action = child and child.tags[1];
	if action and actions[action.name] then
		return action.name;
	end
	return child and actions[child.name] and child.name or stanza.name;
end

-- Kind and outcome -> what with_labels() gives, which looks for it in ways that cost more than counting.
local counters = {};

local function count(stanza, outcome)
	local kind = kind_of(stanza);
	local of_kind = counters[kind];
	if not of_kind then
		of_kind = {};
		counters[kind] = of_kind;
	end
	local counter = of_kind[outcome];
	if not counter then
		counter = requests:with_labels(kind, outcome);
		of_kind[outcome] = counter;
	end
	counter:add(1);
end

-- The engine's figures are those of the process, whichever host asks for them.
local process = module:context("*");
local figures = {};

local function figure(name)
	if not figures[name] then
		local type = name:find("_total$") and "counter" or "gauge";
		local plain = name:gsub("_total$", "");
		figures[name] = process:metric(type, "engine_" .. plain, "", "Engine: " .. plain:gsub("_", " "), {});
	end
	return figures[name]:with_labels();
end

module:hook_global("stats-update", function ()
	local text = state.engine and state.engine:statistics();
	for name, value in (text or ""):gmatch("([%w_]+) (%S+)") do
		if tonumber(value) then
			figure(name):set(tonumber(value));
		end
	end
end);

return { count = count };
