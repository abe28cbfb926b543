local st = require "util.stanza";
local xmppstream = require "util.xmppstream";
local binding = _G.load_binding();

-- What Prosody makes of a stanza that comes over the wire.
local function from_wire(xml)
	local result;
	local session = { notopen = true };
	local stream = xmppstream.new(session, {
		stream_ns = "http://etherx.jabber.org/streams", stream_tag = "stream", default_ns = "jabber:client";
		streamopened = function (s) s.notopen = nil; end;
		handlestanza = function (_, stanza) result = stanza; end;
		error = function (_, err, text) error((tostring(err) .. " " .. tostring(text))); end;
	});
	stream:feed("<stream:stream xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams'>");
	stream:feed(xml);
	if result.attr["xml:lang"] == "en" then result.attr["xml:lang"] = nil; end -- the default of a stream
	return result;
end

-- Plain tables: metatables out, so that busted compares the content.
local function plain(stanza)
	if type(stanza) == "string" then return stanza; end
	assert(getmetatable(stanza) == st.stanza_mt);
	local copy = { name = stanza.name, attr = stanza.attr, tags = {} };
	for i, child in ipairs(stanza) do copy[i] = plain(child); end
	for i, child in ipairs(stanza.tags) do copy.tags[i] = plain(child); end
	return copy;
end

binding.setup(st.stanza_mt);

local wire = {
	"<iq type='get' id='1'/>";
	"<message to='a@b'><body>text &amp; &lt;more&gt; &#x1F600;&#233;</body></message>";
	"<message><body>a</body>between<body>b</body></message>";
	"<iq type='set'><pubsub xmlns='http://jabber.org/protocol/pubsub'><publish node='n'><item id='x'>"
		.. "<entry xmlns='http://www.w3.org/2005/Atom'><title>T</title></entry></item></publish></pubsub></iq>";
	"<iq><a xmlns='one'><b xmlns='jabber:client'><c/></b></a></iq>";
	"<iq><p:a xmlns:p='one' p:x='1' x='2'><p:b><c p:y='&apos;\"'/></p:b></p:a></iq>";
	"<iq><a xmlns='one' xmlns:p='two'><b xmlns='' p:q='3'/><p:c xmlns:p='three'/><p:d/></a></iq>";
	"<message xml:lang='de'><body xml:lang='en' xml:space='preserve'> </body></message>";
	"<message><body><![CDATA[<&]]]]>&gt;<![CDATA[]]></body></message>";
	"<message><body>line\r\nline\rline\nline&#13;&#10;</body></message>";
	"<message><x a='tab\there\nline&#9;&#10;&#13;'/></message>";
	"<message\n\ta = '1'\tb=\"2'\" ><x /></message >";
	"<iq><x:y xmlns:x='q&amp;r' x:z='&#x26;'/></iq>";
};

describe("stanzas", function ()
	for i, xml in ipairs(wire) do
		it("are read as Prosody reads them (" .. i .. ")", function ()
			local stanza = assert(binding.parse(xml));
			assert.same(plain(from_wire(xml)), plain(stanza));
		end);
		it("survive writing and reading (" .. i .. ")", function ()
			local stanza = from_wire(xml);
			local written = binding.serialize(stanza);
			assert.same(plain(stanza), plain(assert(binding.parse(written))));
			assert.same(plain(stanza), plain(from_wire(written)));
		end);
	end

	it("are written with a namespace only where it changes", function ()
		local stanza = st.iq({ type = "set", id = "1" }):tag("a", { xmlns = "one" }):tag("b", { xmlns = "one" }):tag("c");
		local written = binding.serialize(stanza);
		assert.equal(2, select(2, written:gsub("xmlns=", "")));
		assert.same("<a xmlns='one'><b><c/></b></a></iq>", written:match("<a.*"));
	end);

	it("can be built by hand and keep their meaning", function ()
		local stanza = st.message({ to = "a@b", ["ns\1key"] = "<'\"&\r\n>" }, "body"):tag("x", { xmlns = "" }):text("\r]]>"):up();
		local parsed = assert(binding.parse(binding.serialize(stanza)));
		assert.equal("<'\"&\r\n>", parsed.attr["ns\1key"]);
		assert.equal("\r]]>", parsed:get_child_text("x", ""));
		assert.equal("body", parsed:get_child_text("body"));
	end);

	it("that are none raise an error", function ()
		assert.has_error(function () binding.serialize({}); end);
		assert.has_error(function () binding.serialize({ name = "x" }); end);
		assert.has_error(function () binding.serialize({ name = "x", attr = {}, true }); end);
		local deep = { name = "x", attr = {} };
		for _ = 1, 2000 do deep = { name = "x", attr = {}, deep }; end
		assert.has_error(function () binding.serialize(deep); end);
	end);

	it("that are malformed are refused", function ()
		for _, xml in ipairs {
			"", "text", "<", "<a", "<a>", "<a><b></a>", "<a/>x", "<a/><b/>", "<a b=1/>", "<a b='1' b='2'/>", "<a b='<'/>",
			"<p:a/>", "<a p:b='1'/>", "<a>&unknown;</a>", "<a>&#0;</a>", "<a>&#xD800;</a>", "<a>&#x110000;</a>", "<a>&#;</a>",
			"<a>&#12</a>", "<a><![CDATA[x</a>", "<!-- c --><a/>", "<a><!-- c --></a>", "<?xml version='1.0'?><a/>", "<a b='1'c='2'/>",
			"<a b='1", "<a b", "<a b=", "</a>", "<a></a", ("<a>"):rep(5000),
		} do
			local stanza, err = binding.parse(xml);
			assert.is_nil(stanza, xml);
			assert.is_string(err);
		end
	end);
end);
