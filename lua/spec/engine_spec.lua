local st = require "util.stanza";
local binding = _G.load_binding();
binding.setup(st.stanza_mt);

local xmlns_pubsub = "http://jabber.org/protocol/pubsub";

local function open(options)
	local engine = assert(binding.open(options or { database = "memory", seed = "spec" }));
	assert(engine:serve("localhost", "accounts", {}));
	assert(engine:serve("pubsub.localhost", "component", { events = true, create_nodes = "anyone" }));
	return engine;
end

-- Facts as a host would give them.
local function answer(outcome, input)
	for i = 1, outcome:count() do
		if outcome:kind(i) == "need" then
			local kind, jid, other = outcome:need(i);
			if kind == "roster" then
				input:roster(jid, other, "both", { "Friends", "Family" });
			else
				input:fact(kind, jid, other, kind == "account");
			end
		end
	end
	return input;
end

local function wait(engine)
	for _ = 1, 1e7 do
		local token, outcome = engine:poll();
		if token then
			return token, outcome;
		end
	end
	error("nothing came");
end

local function submit(engine, input, token)
	assert(engine:submit(input, token));
	while true do
		local got, outcome = wait(engine);
		assert.equal(token, got);
		local again = outcome:input();
		if not again then
			return outcome;
		end
		assert(engine:submit(answer(outcome, again), token));
	end
end

local function request(from, to, content)
	return st.iq({ type = "set", id = "1", from = from, to = to }):tag("pubsub", { xmlns = xmlns_pubsub }):add_child(content);
end

local function create(node)
	return request("romeo@localhost/orchard", "pubsub.localhost", st.stanza("create", { node = node }));
end

local function publish(node, item)
	return request("romeo@localhost/orchard", "pubsub.localhost", st.stanza("publish", { node = node })
		:tag("item", { id = item }):text_tag("entry", "a < b & c", { xmlns = "http://www.w3.org/2005/Atom", ["ns\1key"] = "value" }));
end

describe("an engine", function ()
	it("names a wrong option", function ()
		local engine, err = binding.open({ databse = "memory" });
		assert.is_nil(engine);
		assert.truthy(err:find("databse", 1, true));
		engine, err = binding.open({ commit = "never" });
		assert.is_nil(engine);
		assert.truthy(err:find("commit", 1, true));
		engine = open();
		local ok;
		ok, err = engine:serve("other.localhost", "accounts", { max_nodes = "many" });
		assert.is_nil(ok);
		assert.truthy(err:find("max_nodes", 1, true));
		assert.has_error(function () engine:serve("other.localhost", "something"); end);
		engine:close();
	end);

	it("takes numbers and booleans as options", function ()
		local engine = assert(binding.open({ database = "memory", cache_size = 2 ^ 20, seed = 7 }));
		assert(engine:serve("localhost", "accounts", { max_nodes = 5, expose_publisher = true }));
		engine:close();
	end);

	it("answers at once", function ()
		local engine = open();
		local input = binding.input("stanza", create("n"));
		local outcome;
		repeat
			outcome = assert(engine:handle(input));
			answer(outcome, input);
		until outcome:kind(1) ~= "need"
		local reply;
		for i = 1, outcome:count() do
			reply = outcome:kind(i) == "route" and outcome:stanza(i) or reply;
		end
		assert.equal("result", reply.attr.type);
		assert.equal("romeo@localhost/orchard", reply.attr.to);
		assert.equal("pubsub.localhost", reply.attr.from);
		engine:close();
	end);

	it("answers later, with facts in between", function ()
		local engine = open();
		submit(engine, binding.input("stanza", create("n")), 7):free();
		local outcome = submit(engine, binding.input("stanza", publish("n", "x")), 8);
		local event;
		for i = 1, outcome:count() do
			if outcome:kind(i) == "event" then
				event = { outcome:event(i) };
				local item = outcome:stanza(i);
				assert.same({ "item", xmlns_pubsub, "x" }, { item.name, item.attr.xmlns, item.attr.id });
				assert.equal("a < b & c", item.tags[1]:get_text());
				assert.equal("value", item.tags[1].attr["ns\1key"]);
			end
		end
		assert.same({ "item-published", "pubsub.localhost", "n", "x", "romeo@localhost/orchard" }, event);
		engine:close();
	end);

	it("gives one notification that is addressed many times", function ()
		local engine = open();
		submit(engine, binding.input("stanza", create("n")), 1):free();
		for i = 1, 50 do
			local who = ("u%d@example.org"):format(i);
			local subscribe = request(who, "pubsub.localhost", st.stanza("subscribe", { node = "n", jid = who }));
			submit(engine, binding.input("stanza", subscribe), 2):free();
		end
		local outcome = submit(engine, binding.input("stanza", publish("n", "x")), 3);
		local seen, ids, count = {}, {}, 0;
		for i = 1, outcome:count() do
			if outcome:kind(i) == "multicast" then
				local common = outcome:stanza(i);
				assert.is_nil(common.attr.to);
				for k = 1, outcome:recipients(i) do
					outcome:address(i, common.attr, k);
					assert.falsy(seen[common.attr.to] or ids[common.attr.id]);
					seen[common.attr.to], ids[common.attr.id] = true, true;
					count = count + 1;
				end
				assert.has_error(function () outcome:address(i, common.attr, 51); end);
				assert.has_error(function () outcome:address(i, nil, 1); end);
			end
		end
		assert.equal(50, count);
		engine:close();
	end);

	it("hands over what was not collected when it is closed, and refuses everything afterwards", function ()
		local engine = open();
		for token = 1, 20 do
			assert(engine:submit(binding.input("stanza", create("n" .. token)), token));
		end
		local rest = engine:close();
		assert.equal(40, #rest);
		for i = 1, 40, 2 do
			assert.equal("number", type(rest[i]));
			assert.truthy(rest[i + 1]:count() > 0);
		end
		assert.has_error(function () engine:poll(); end);
		assert.has_error(function () engine:submit(binding.input("tick"), 1); end);
		assert.has_error(function () engine:close(); end);
	end);

	it("may be forgotten with everything in flight", function ()
		for _ = 1, 3 do
			local engine = open();
			for token = 1, 20 do
				engine:submit(binding.input("stanza", create("n" .. token)), token);
			end
			for token = 21, 200 do
				engine:put(token, "stanza", create("n" .. token));
			end
		end
		collectgarbage(); collectgarbage();
	end);

	it("submits without an input object, and uses a handle again", function ()
		local engine = open();
		local handle;
		for token = 1, 20 do
			assert(engine:put(token, "stanza", create("n" .. token)));
			assert.is_nil(engine:flush());
			local got, outcome;
			repeat
				got, outcome = engine:poll(handle);
			until got
			if handle then
				assert.equal(handle, outcome);
			end
			assert.equal(token, got);
			if outcome:needs() then
				assert(engine:submit(answer(outcome, outcome:input()), token));
				got, outcome = wait(engine);
				assert.equal(token, got);
			end
			assert.is_false(outcome:needs());
			handle = outcome;
		end
		local answers = 0;
		for i = 1, handle:count() do
			answers = answers + (handle:kind(i) == "route" and handle:stanza(i).attr.type == "result" and 1 or 0);
		end
		assert.equal(1, answers);
		assert.same({ nil, "not acceptable as an input" }, { engine:put(1, "stanza", "\255") });
		assert.has_error(function () engine:put(1, "nothing"); end);
		assert.has_error(function () engine:put(1, "stanza", {}); end);
		assert.has_error(function () engine:poll({}); end);
		engine:close();
	end);

	it("does not take an input twice", function ()
		local engine = open();
		local input = binding.input("tick");
		assert(engine:submit(input, 1));
		assert.has_error(function () engine:submit(input, 2); end);
		assert.has_error(function () input:fact("account", "a@b", "", true); end);
		engine:close();
	end);

	it("announces features and figures", function ()
		local engine = open();
		assert.truthy(engine:features("localhost", "account"):find("identity\tpubsub\tpep", 1, true));
		assert.truthy(engine:features("pubsub.localhost", "component"):find("identity\tpubsub\tservice", 1, true));
		assert.is_nil(engine:features("nowhere", "account"));
		assert.truthy(engine:statistics():find("%w+ %d"));
		engine:close();
	end);

	it("refuses input that is not text", function ()
		assert.is_nil(binding.input("stanza", "\255"));
		assert.has_error(function () binding.input("nothing"); end);
		assert.has_error(function () binding.input("stanza", {}); end);
	end);
end);
