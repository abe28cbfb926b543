-- The one engine of this Prosody process: opened by the first host or component that loads mod_pam_pps, closed by the last.
--
-- State lives in a table that all of them share. The functions below hold nothing of the module that happened to load
-- them, so that the engine goes on when that module is reloaded or unloaded.

local id = require "util.id";
local jid_host = require "util.jid".host;
local logger = require "util.logger";
local server = require "net.server";
local st = require "util.stanza";
local time_now = require "util.time".now;
local timer = require "util.timer";

local log = logger.init("pam_pps");
local hosts = prosody.hosts;
local traceback = debug.traceback;

-- How many stanzas are sent before the loop is handed back.
local batch_size = 200;
-- How often facts may be asked for on behalf of one input.
local max_rounds = 20;

local state = module:shared("/*/pam_pps/engine");
state.domains = state.domains or {}; -- domain -> { facts, event, ... } of the module that serves it
state.contexts = state.contexts or {}; -- token of a submission -> what is to be done with the outcome
state.token = state.token or 0;
state.budget = state.budget or batch_size;
state.queue = state.queue or { first = 1, last = 0 }; -- sends that wait for their turn, oldest first
state.reinjected = state.reinjected or setmetatable({}, { __mode = "k" }); -- stanzas the engine has passed on

local function protected(what, f, ...)
	local ok, err = xpcall(f, traceback, ...);
	if not ok then
		log("error", "%s: %s", what, err);
	end
	return ok and err;
end

-- Sending

local function post(stanza)
	local origin = hosts[jid_host(stanza.attr.from)];
	if not origin then
		log("debug", "Not sent, the host of %s is gone", stanza.attr.from);
		return;
	end
	state.budget = state.budget - 1;
	protected("Sending failed", prosody.core_post_stanza, origin, stanza);
end

local function enqueue(job)
	local queue = state.queue;
	queue.last = queue.last + 1;
	queue[queue.last] = job;
end

-- Sends what waits, in order, until the budget of this turn is used up. --> true when nothing waits any more
local function run_queue(all)
	local queue = state.queue;
	while queue.first <= queue.last do
		local job = queue[queue.first];
		while job.sent < job.count and (all or state.budget > 0) do
			job.sent = job.sent + 1;
			local stanza = job.outcome and job.outcome:address(job.index, job.stanza, job.sent) or job.stanza;
			post(stanza);
		end
		if job.sent < job.count then
			return false;
		end
		queue[queue.first] = nil;
		queue.first = queue.first + 1;
	end
	return true;
end

-- Events must not overtake a fan-out that is still going on; replies may.
-- `behind`: something of the same outcome waits, and what an outcome says is said in its order. --> whether it waits
local function route(stanza, behind)
	if behind or (stanza.name == "message" and state.queue.first <= state.queue.last) then
		enqueue({ stanza = stanza, sent = 0, count = 1 });
		return true;
	end
	post(stanza);
	return false;
end

-- Deadlines

local submit; -- (kind, data, context, extra, privileged) --> true | nil, err

local function tick()
	state.timer, state.wake = nil, nil;
	if state.engine then
		submit("tick");
	end
end

local function wake_at(time)
	if state.wake and state.wake <= time then
		return;
	end
	if state.timer then
		timer.stop(state.timer);
	end
	state.wake = time;
	state.timer = timer.add_task(math.max(0, time - time_now()), tick);
end

-- Outcomes

local function answer_needs(outcome, input)
	for i = 1, outcome:count() do
		if outcome:kind(i) == "need" then
			local kind, jid, other = outcome:need(i);
			local domain = state.domains[jid_host(kind == "admin" and other or jid)];
			local value, groups;
			if domain and domain.facts[kind] then
				local ok, a, b = xpcall(domain.facts[kind], traceback, jid, other);
				if ok then
					value, groups = a, b;
				else
					log("error", "No answer about the %s of %s: %s", kind, jid, a);
				end
			end
			if kind == "roster" then
				input:roster(jid, other, value or "none", groups);
			else
				input:fact(kind, jid, other, value or false);
			end
		end
	end
	return input;
end

local function refuse(context)
	local stanza = context and context.stanza;
	if stanza and context.owned and stanza.name == "iq" and (stanza.attr.type == "get" or stanza.attr.type == "set") then
		context.origin.send(st.error_reply(stanza, "wait", "internal-server-error"));
	end
end

-- The stanza goes on as if this module were not there.
local function reinject(context)
	state.reinjected[context.stanza] = true;
	protected("Passing on failed", prosody.core_post_stanza, context.origin, context.stanza);
end

local function fire_event(outcome, i)
	local name, service, node, item, actor = outcome:event(i);
	local domain = state.domains[jid_host(service)];
	if domain and domain.event then
		domain.event(name, service, node, item ~= "" and item or nil, actor ~= "" and actor or true, function ()
			return outcome:text(i) ~= "" and outcome:stanza(i) or nil;
		end);
	end
end

-- Carries out the decisions of an outcome without NEEDs. `catch` may keep a routed stanza for itself. --> reply text | nil
local function carry_out(outcome, context, catch)
	local request = context and context.stanza;
	local reply, result, keep;
	local waits = false;
	for i = 1, outcome:count() do
		local kind = outcome:kind(i);
		if kind == "route" then
			local stanza, err = outcome:stanza(i);
			if not stanza then
				log("error", "The engine gave a stanza that cannot be read: %s", err);
			elseif not (catch and catch(stanza)) then
				if request and stanza.name == "iq" and stanza.attr.id == request.attr.id then
					result = stanza.attr.type;
				end
				waits = route(stanza, waits);
			end
		elseif kind == "multicast" then
			local stanza, err = outcome:stanza(i);
			if stanza then
				keep, waits = true, true;
				enqueue({ outcome = outcome, index = i, stanza = stanza, sent = 0, count = outcome:recipients(i) });
			else
				log("error", "The engine gave a notification that cannot be read: %s", err);
			end
		elseif kind == "wake" then
			wake_at(outcome:time(i));
		elseif kind == "event" then
			protected("An event handler failed", fire_event, outcome, i);
		elseif kind == "reply" then
			reply = outcome:text(i);
		elseif kind == "pass" and context and context.owned then
			result = "passed";
			reinject(context);
		end
	end
	if context and context.count then
		context.count(request, result or "none");
	end
	if not keep then
		outcome:free();
	end
	return reply;
end

local function has_needs(outcome)
	for i = 1, outcome:count() do
		if outcome:kind(i) == "need" then
			return true;
		end
	end
	return false;
end

local function finished(token, outcome)
	local context = state.contexts[token];
	state.contexts[token] = nil;
	if not has_needs(outcome) then
		if context and context.done then
			context.done(carry_out(outcome));
		else
			carry_out(outcome, context);
		end
		return;
	end
	-- Other inputs of the service wait for this one: it must go back, or go.
	local input = outcome:input();
	context = context or {};
	context.rounds = (context.rounds or 0) + 1;
	if not input or not state.engine or context.rounds > max_rounds then
		if input then
			input:free();
		end
		refuse(context);
		return;
	end
	protected("No answer for the engine", answer_needs, outcome, input);
	outcome:free();
	state.contexts[token] = context;
	local ok, err = state.engine:submit(input, token);
	if not ok then
		log("error", "The engine takes no more input: %s", err);
		state.contexts[token] = nil;
		refuse(context);
	end
end

local function run_logs()
	for _, message in ipairs(state.binding.logs()) do
		log(message[1], "%s", message[2]);
	end
end

-- One turn of Prosody's loop: called when the engine's descriptor is readable.
function state.run()
	if not state.engine then
		return;
	end
	state.engine:rearm();
	state.budget = batch_size;
	run_logs();
	while state.engine do
		if state.budget <= 0 then
			state.engine:nudge();
			return;
		end
		if run_queue() then
			local token, outcome = state.engine:poll();
			if not token then
				return;
			end
			protected("An outcome failed", finished, token, outcome);
		end
	end
end

-- Hands an input to the engine's worker. `data` is text or a stanza; context = { origin, stanza, owned, count }: what an
-- outcome that passes, or a failure, is about; owned: the caller gave the stanza up; count(stanza, outcome) for statistics.
-- Instead of these, context.done(reply) is called at the end.
function submit(kind, data, context, extra, privileged) --> true | nil, err
	if not state.engine then
		refuse(context);
		return nil, "closed";
	end
	local input, err = state.binding.input(kind, data, extra, privileged);
	if input then
		state.token = state.token + 1;
		state.contexts[state.token] = context;
		input, err = state.engine:submit(input, state.token);
		if input then
			return true;
		end
		state.contexts[state.token] = nil;
	end
	log("error", "Not accepted by the engine: %s", err);
	refuse(context);
	return nil, err;
end

-- Hands an input to the engine and waits for it. `catch(stanza)` returns true for the stanza it was waiting for.
local function handle(kind, data, extra, privileged, catch) --> true, reply text | nil, err
	if not state.engine then
		return nil, "closed";
	end
	local input, err = state.binding.input(kind, data, extra, privileged);
	if not input then
		return nil, err;
	end
	for _ = 1, max_rounds do
		local outcome;
		outcome, err = state.engine:handle(input);
		if not outcome then
			log("error", "The engine failed: %s", err);
			return nil, err;
		end
		if not has_needs(outcome) then
			local reply = carry_out(outcome, nil, catch);
			state.engine:nudge(); -- notifications go out with the next turn
			return true, reply;
		end
		answer_needs(outcome, input);
		outcome:free();
	end
	return nil, "too many facts wanted";
end

-- Sends an IQ to the engine as if it had come from its `from`, and waits. --> reply stanza | nil, err
local function ask(stanza, privileged)
	stanza.attr.id = "service-" .. id.short();
	local reply;
	local ok, err = handle("stanza", stanza, nil, privileged, function (answer)
		if answer.name == "iq" and answer.attr.id == stanza.attr.id then
			reply = answer;
			return true;
		end
		return false;
	end);
	if not ok then
		return nil, err;
	end
	return reply, "no answer";
end

-- Opening and closing

local function load_binding(directory) --> binding | nil, err
	local file = directory .. "/pam_pps_lua-" .. _VERSION:match("%d%.%d") .. ".so";
	local open, err = package.loadlib(file, "luaopen_pam_pps_lua");
	if not open then
		return nil, err;
	end
	local ok, binding = pcall(open);
	if not ok then
		return nil, binding;
	end
	binding.setup(st.stanza_mt);
	return binding;
end

-- Opens the engine when it is not open yet, and counts one more user of it.
local function acquire(directory, options) --> true | nil, err
	if not state.engine then
		local binding, engine, err;
		binding, err = load_binding(directory);
		if not binding then
			return nil, err;
		end
		state.binding = binding;
		engine, err = binding.open(options());
		if not engine then
			run_logs();
			return nil, err;
		end
		state.engine = engine;
		state.users = 0;
		state.watch = server.watchfd(engine:fd(), function () state.run(); end);
		log("info", "Engine of libpam_pps %s opened", binding.version);
		submit("tick");
	end
	state.users = state.users + 1;
	return true;
end

local function close()
	local engine = state.engine;
	if not engine then
		return;
	end
	state.watch:close();
	if state.timer then
		timer.stop(state.timer);
	end
	state.engine, state.watch, state.timer, state.wake = nil, nil, nil, nil;
	local rest = engine:close(); -- what was under way is finished now
	for i = 1, #rest, 2 do
		protected("An outcome failed", finished, rest[i], rest[i + 1]);
	end
	run_queue(true);
	run_logs();
	for token, context in pairs(state.contexts) do
		state.contexts[token] = nil;
		refuse(context);
	end
	log("info", "Engine closed");
end

local function release()
	state.users = (state.users or 1) - 1;
	if state.users <= 0 then
		close();
	end
end

return {
	acquire = acquire;
	ask = ask;
	close = close;
	handle = handle;
	release = release;
	state = state;
	submit = submit;
};
