# The two commands for a newcomer:
#
#   make run        two live Prosodys with the module on loopback, a tour with three people, and the servers left up
#                   (HOST=ejabberd plays it on one ejabberd, VERBOSE=1 shows the stanzas, ONCE=1 ends after the tour,
#                   PROSODY=13 takes Prosody 13)
#   make test       everything that can be tested here; the last line has the totals
#
# The others:
#
#   make setup      install what is missing (Debian 12, as root); `run` and `test` do it by themselves
#   make build      the library
#   make dist       dist/prosody, dist/ejabberd, dist/lib, dist/include, as they go to a server; dist/ejabberd where
#                   ejabberd's headers are
#   make install    the same under PREFIX (/usr/local), with a pkg-config file; DESTDIR as usual
#   make lint       formatting and warnings, Rust, Lua, C and Erlang
#   make bench      side by side with Prosody's own modules, with HOST=ejabberd with ejabberd's; QUICK=1 takes minutes
#   make clean

# Where rustup puts it; a new installation is not in PATH yet.
export PATH := $(HOME)/.cargo/bin:$(PATH)
CARGO ?= cargo
CC ?= cc
PYTHON ?= python3
PREFIX ?= /usr/local
LIBDIR ?= $(PREFIX)/lib
INCLUDEDIR ?= $(PREFIX)/include
DIST ?= dist
CARGO_TARGET_DIR ?= target

BUILD := $(abspath $(CARGO_TARGET_DIR))
override CARGO_TARGET_DIR := $(BUILD)
export CARGO_TARGET_DIR
LIB := $(BUILD)/release/libpam_pps.so
VERSION := $(shell sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml | head -n 1)
# The ABI changes with the first number that is not zero; build.rs says the same.
ABI := $(shell echo $(VERSION) | awk -F. '{ if ($$1 == 0) print $$1 "." $$2; else print $$1 }')
SONAME := libpam_pps.so.$(ABI)
C_WARNINGS := -Wall -Wextra -Werror -pedantic
# Absolute, or below this folder.
DIST_DIR := $(abspath $(DIST))
LUA := $(MAKE) --no-print-directory -C lua LIB=$(LIB) INCLUDE=$(CURDIR)/include
ERLANG := $(MAKE) --no-print-directory -C erlang LIB=$(LIB) INCLUDE=$(CURDIR)/include
MODULES := $(LIBDIR)/pam_pps/prosody
EJABBERD_MODULES := $(LIBDIR)/pam_pps/ejabberd

build:
	$(CARGO) build --release

dist: build
	@$(LUA) dist DIST=$(DIST_DIR)/prosody
	@$(ERLANG) dist-if-possible DIST=$(DIST_DIR)/ejabberd
	@install -d $(DIST_DIR)/lib $(DIST_DIR)/include
	install -m 755 $(LIB) $(DIST_DIR)/lib/$(SONAME)
	@ln -sfn $(SONAME) $(DIST_DIR)/lib/libpam_pps.so
	install -m 644 include/pam_pps.h $(DIST_DIR)/include/pam_pps.h

install: dist
	install -d $(DESTDIR)$(LIBDIR)/pkgconfig $(DESTDIR)$(INCLUDEDIR) $(DESTDIR)$(MODULES)
	install -m 755 $(DIST_DIR)/lib/$(SONAME) $(DESTDIR)$(LIBDIR)/$(SONAME)
	ln -sfn $(SONAME) $(DESTDIR)$(LIBDIR)/libpam_pps.so
	install -m 644 $(DIST_DIR)/include/pam_pps.h $(DESTDIR)$(INCLUDEDIR)/pam_pps.h
	cp -R $(DIST_DIR)/prosody/. $(DESTDIR)$(MODULES)/
	[ ! -d $(DIST_DIR)/ejabberd ] || { install -d $(DESTDIR)$(EJABBERD_MODULES) && \
		cp -R $(DIST_DIR)/ejabberd/. $(DESTDIR)$(EJABBERD_MODULES)/; }
	printf '%s\n' 'libdir=$(LIBDIR)' 'includedir=$(INCLUDEDIR)' '' 'Name: pam_pps' \
		'Description: Publish-subscribe engine for XMPP servers' 'Version: $(VERSION)' \
		'Libs: -L$${libdir} -lpam_pps' 'Cflags: -I$${includedir}' > $(DESTDIR)$(LIBDIR)/pkgconfig/pam_pps.pc
	@echo "Prosody's plugin_paths: $(MODULES)/modules and $(MODULES)/replacements"
	@[ ! -d $(DIST_DIR)/ejabberd ] || echo "ejabberd's contrib module and replacement: $(EJABBERD_MODULES)"

setup:
	@tests/setup

HOST ?= prosody
HOST_IS_KNOWN = $(if $(filter prosody ejabberd,$(HOST)),:,echo "make: HOST is prosody or ejabberd" >&2; exit 2)

run:
	@$(HOST_IS_KNOWN)
	@tests/setup $(if $(filter ejabberd,$(HOST)),ejabberd,run)
	@$(MAKE) --no-print-directory dist
	@$(PYTHON) tests/$(if $(EVENTING),eventing,tour).py --host $(HOST) --dist $(DIST_DIR)/$(HOST)

test:
	@tests/setup
	@tests/run $(SUITES)

lint: lint-fmt lint-clippy lint-lua lint-c lint-erlang

lint-fmt:
	$(CARGO) fmt --check

lint-clippy:
	$(CARGO) clippy --all-targets -- -D warnings

lint-lua:
	@$(LUA) lint

lint-erlang:
	@$(ERLANG) lint LINT_DIR=$(BUILD)/lint-erlang

# The examples, and the header by itself as C99 and as C++. The binding has the same warnings in lua/Makefile.
lint-c:
	@set -e; for file in examples/*.c; do \
		echo "$(CC) -fsyntax-only $$file"; $(CC) -std=c11 $(C_WARNINGS) -Iinclude -fsyntax-only $$file; done
	@for v in 5.2 5.3 5.4; do [ ! -e /usr/include/lua$$v/lua.h ] || { echo "$(CC) -fsyntax-only lua/*.c (Lua $$v)"; \
		$(CC) -std=c99 -D_POSIX_C_SOURCE=200809L $(C_WARNINGS) -isystem /usr/include/lua$$v -Iinclude -Ibindings -fsyntax-only lua/*.c || exit 1; }; done
	@[ ! -e /usr/include/erl_nif.h ] || { echo "$(CC) -fsyntax-only erlang/c_src/*.c"; \
		$(CC) -std=c11 -D_POSIX_C_SOURCE=200809L $(C_WARNINGS) -isystem /usr/include -Iinclude -Ibindings -fsyntax-only erlang/c_src/*.c; }
	$(CC) -std=c99 $(C_WARNINGS) -fsyntax-only -x c include/pam_pps.h

bench:
	@$(HOST_IS_KNOWN)
	@tests/setup $(if $(filter ejabberd,$(HOST)),ejabberd,run)
	@$(MAKE) --no-print-directory dist
	$(PYTHON) benches/run.py --host $(HOST) --dist $(DIST_DIR)/$(HOST) $(if $(QUICK),--quick)

clean:
	$(CARGO) clean
	@$(LUA) clean
	rm -rf $(DIST_DIR)

.PHONY: bench build clean dist install lint lint-c lint-clippy lint-erlang lint-fmt lint-lua run setup test
