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

-- How often facts may be asked for on behalf of one input.
local max_rounds = 20;
-- Contexts that are kept for the next submissions.
local max_spare = 1000;

local state = module:shared("/*/pam_pps/engine");
state.domains = state.domains or {}; -- domain -> { facts, event, ... } of the module that serves it
state.contexts = state.contexts or {}; -- token of a submission -> what is to be done with the outcome
state.spare = state.spare or {}; -- contexts that are not in use; each keeps its token
state.token = state.token or 0;
state.batch_size = state.batch_size or 100; -- how many stanzas are sent before the loop is handed back
state.budget = state.budget or 0; -- how many of them are left in this turn
state.queue = state.queue or { first = 1, last = 0 }; -- sends that wait for their turn, oldest first
state.reinjected = state.reinjected or setmetatable({}, { __mode = "k" }); -- stanzas the engine has passed on

local function protected(what, f, ...)
	local ok, err = xpcall(f, traceback, ...);
	if not ok then
		log("error", "%s: %s", what, err);
	end
	return ok and err;
end

-- Contexts: { token, origin, stanza, owned, count, done, rounds }. Prosody's collector works the harder the more is thrown
-- away, so they are used again.

local function new_context() --> context
	local spare = state.spare;
	local context = spare[#spare];
	if context then
		spare[#spare] = nil;
	else
		state.token = state.token + 1;
		context = { token = state.token, origin = false, stanza = false, owned = false, count = false, done = false, rounds = 0 };
	end
	state.contexts[context.token] = context;
	return context;
end

local function end_context(context)
	state.contexts[context.token] = nil;
	context.origin, context.stanza, context.owned, context.count, context.done = false, false, false, false, false;
	context.rounds = 0;
	if #state.spare < max_spare then
		table.insert(state.spare, context);
	end
end

-- Sending

-- `origin`: whose request the stanza answers.
local function send(stanza, origin)
	state.budget = state.budget - 1;
	if origin then
		protected("Answering failed", origin.send, stanza);
		return;
	end
	-- An event from another server that is handed on to a device here comes from its service still.
	local host = hosts[jid_host(stanza.attr.from)] or hosts[jid_host(stanza.attr.to)];
	if host then
		protected("Sending failed", prosody.core_post_stanza, host, stanza);
	else
		log("debug", "Not sent, the host of %s is gone", stanza.attr.from);
	end
end

local function enqueue(job)
	local queue = state.queue;
	queue.last = queue.last + 1;
	queue[queue.last] = job;
end

-- Sends an event to the next recipients. One stanza is addressed to all of them, as Prosody's own modules do it; where a
-- handler has changed it, a new one is made.
local function send_events(job, all)
	local outcome, index, stanza = job.outcome, job.index, job.stanza;
	local post_stanza, address = prosody.core_post_stanza, outcome.address;
	local origin = hosts[jid_host(job.from)];
	if not origin then
		log("debug", "Not sent, the host of %s is gone", job.from);
		job.sent = job.count;
		return;
	end
	while job.sent < job.count and (all or state.budget > 0) do
		job.sent = job.sent + 1;
		state.budget = state.budget - 1;
		if #stanza ~= job.children or #stanza.tags ~= job.tags then
			stanza = outcome:stanza(index);
			job.stanza = stanza;
		end
		local attr = stanza.attr;
		attr.from, attr.type = job.from, job.type;
		address(outcome, index, attr, job.sent);
		post_stanza(origin, stanza);
	end
end

-- Sends what waits, in order, until the budget of this turn is used up. --> true when nothing waits any more
local function run_queue(all)
	local queue = state.queue;
	while queue.first <= queue.last do
		local job = queue[queue.first];
		while job.sent < job.count and (all or state.budget > 0) do
			if job.outcome then
				protected("Sending failed", send_events, job, all); -- goes on behind the recipient where it failed
			else
				job.sent = job.count;
				send(job.stanza, job.origin);
			end
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
local function route(stanza, behind, origin)
	if behind or (stanza.name == "message" and state.queue.first <= state.queue.last) then
		enqueue({ stanza = stanza, sent = 0, count = 1, origin = origin });
		return true;
	end
	send(stanza, origin);
	return false;
end

-- Deadlines

local submit; -- (kind, data, extra, privileged, done) --> true | nil, err

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
			local domain = state.domains[jid_host((kind == "admin" or kind == "room") and other or jid)];
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
			elseif kind == "room" then
				input:room(jid, other, value or "none", groups or false);
			elseif kind == "room-info" then
				local info = value or {};
				input:room_info(jid, info.name or "", info.description or "", info.subject or "");
			else
				input:fact(kind, jid, other, value or false);
			end
		end
	end
	return input;
end

local function refuse(context)
	local stanza = context.stanza;
	if context.done then
		context.done(nil);
	end
	if stanza and context.owned and stanza.name == "iq" and (stanza.attr.type == "get" or stanza.attr.type == "set") then
		context.origin.send(st.error_reply(stanza, "wait", "internal-server-error"));
	end
end

-- The stanza goes on as if this module were not there.
local function reinject(context)
	state.reinjected[context.stanza] = true;
	protected("Passing on failed", prosody.core_post_stanza, context.origin, context.stanza);
end

-- The payload of the event that is being told.
local told, told_index;
local function payload() --> stanza | nil
	return told:text(told_index) ~= "" and told:stanza(told_index) or nil;
end

local function fire_event(outcome, i)
	local name, service, node, item, actor = outcome:event(i);
	local domain = state.domains[service] or state.domains[jid_host(service)];
	if domain and domain.event then
		local before, before_index = told, told_index; -- a handler may make requests of its own
		told, told_index = outcome, i;
		domain.event(name, service, node, item ~= "" and item or nil, actor ~= "" and actor or true, payload);
		told, told_index = before, before_index;
	end
end

-- Carries out the decisions of an outcome without NEEDs. `catch` may keep a routed stanza for itself.
local function carry_out(outcome, context, catch) --> reply text | nil, whether the outcome is still needed
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
				local origin;
				if request and stanza.name == "iq" and stanza.attr.id == request.attr.id then
					result = stanza.attr.type;
					origin = context.owned and stanza.attr.to == request.attr.from and context.origin or nil;
				end
				waits = route(stanza, waits, origin);
			end
		elseif kind == "multicast" then
			local stanza, err = outcome:stanza(i);
			if stanza then
				keep, waits = true, true;
				enqueue({
					outcome = outcome, index = i, sent = 0, count = outcome:recipients(i);
					stanza = stanza, children = #stanza, tags = #stanza.tags, from = stanza.attr.from, type = stanza.attr.type;
				});
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
	return reply, keep;
end

local function refused(context, err)
	log("error", "Not accepted by the engine: %s", err);
	refuse(context);
	end_context(context);
end

local function finished(token, outcome) --> whether the outcome is still needed
	local context = state.contexts[token];
	state.contexts[token] = nil;
	if not outcome:needs() then
		local reply, keep = carry_out(outcome, context);
		if context and context.done then
			context.done(reply);
		end
		if context then
			end_context(context);
		end
		return keep;
	end
	-- Other inputs of the service wait for this one: it must go back, or go.
	local input, err = outcome:input(), "too many facts wanted";
	if input and context and state.engine and context.rounds < max_rounds then
		protected("No answer for the engine", answer_needs, outcome, input);
		context.rounds = context.rounds + 1;
		state.contexts[token] = context;
		input, err = state.engine:submit(input, token);
		if input then
			return false;
		end
	elseif input then
		input:free();
	end
	if context then
		refused(context, err);
	end
end

-- What was put during a turn of the loop goes to the worker together, which commits it together.
local function flush()
	local failed = state.engine:flush();
	for i = 1, failed and #failed or 0, 2 do
		refused(state.contexts[failed[i]], failed[i + 1]);
	end
end

local function run_logs()
	for _, message in ipairs(state.binding.logs() or {}) do
		log(message[1], "%s", message[2]);
	end
end

-- One turn of Prosody's loop: called when the engine's descriptor is readable.
function state.run()
	if not state.engine then
		return;
	end
	state.engine:rearm();
	flush();
	state.budget = state.batch_size;
	run_logs();
	while state.engine do
		if state.budget <= 0 then
			state.engine:nudge();
			return;
		end
		if run_queue() then
			-- The handle of the last outcome, if nothing holds it.
			local token, outcome = state.engine:poll(state.handle);
			if not token then
				return;
			end
			state.handle = nil;
			if not protected("An outcome failed", finished, token, outcome) then
				state.handle = outcome;
			end
		end
	end
end

local function put(context, kind, data, extra, privileged) --> true | nil, err
	local ok, err = state.engine:put(context.token, kind, data, extra, privileged);
	if not ok then
		refused(context, err);
	end
	return ok, err;
end

-- Hands an input to the engine's worker. `data` is text or a stanza. done(reply), if given, is called at the end.
function submit(kind, data, extra, privileged, done) --> true | nil, err
	if not state.engine then
		return nil, "closed";
	end
	local context = new_context();
	context.done = done or false;
	return put(context, kind, data, extra, privileged);
end

-- Gives a stanza up to the engine, which answers it, or passes it on. count(stanza, outcome) is for statistics.
local function request(origin, stanza, count) --> true | nil, err
	local context = new_context();
	context.origin, context.stanza, context.owned, context.count = origin, stanza, true, count;
	if not state.engine then
		refuse(context);
		end_context(context);
		return nil, "closed";
	end
	return put(context, "stanza", stanza);
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
	flush(); -- it came before
	for _ = 1, max_rounds do
		local outcome;
		outcome, err = state.engine:handle(input);
		if not outcome then
			log("error", "The engine failed: %s", err);
			return nil, err;
		end
		if not outcome:needs() then
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
local function acquire(directory, options, batch_size) --> true | nil, err
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
	state.batch_size = batch_size;
	return true;
end

local function close()
	local engine = state.engine;
	if not engine then
		return;
	end
	flush();
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
	for _, context in pairs(state.contexts) do
		refuse(context);
	end
	state.contexts, state.spare, state.token = {}, {}, 0;
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
	request = request;
	state = state;
	submit = submit;
};
