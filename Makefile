# Short ways to the build; the build itself is meson.build.
#
#   make           builds the programs in build/; BACKEND=bearssl chooses the TLS library
#   make deps      installs what build, tests and demo need (Debian, as root)
#   make test      every test, on every backend; PYTEST='-k word' chooses among those of the program
#   make fuzz      every fuzz harness for SECONDS each; FUZZER=afl takes AFL++, COVERAGE=no counts no lines
#   make proof     everything without sampling, for hours, and the figures of it: doc/testing.md
#   make coverage  which lines the tests reach, with clang
#   make demo      a TLS server in front of a shell script, and clients of it, shown step by step
#   make bench     every backend beside other TLS servers, in ten minutes; tables and plots in bench/results
#   make install   programs and man pages to PREFIX, below DESTDIR if that is set

PREFIX ?= /usr/local
SECONDS ?= 60
FUZZER ?= libfuzzer
COVERAGE ?= yes
BACKENDS = openssl bearssl libtls
PROGRAMS = s6-tlsd s6-tlsc s6-tlsclient s6-tlsserver
BACKEND = openssl

ifeq ($(filter $(BACKEND),$(BACKENDS)),)
$(error BACKEND=$(BACKEND) is none: there are $(BACKENDS))
endif
others = $(patsubst %,build-%,$(filter-out $(BACKEND),$(BACKENDS)))

all: configure
	@ninja -C build $(PROGRAMS)

# Meson runs again when the options differ from those that build/ was made with.
configure:
	@tools/deps check
	@options="-Dtls=$(BACKEND) -Dtests=$$(pkg-config --exists cmocka && echo true || echo false)"; \
	if [ "$$options" != "$$(cat build/options 2>/dev/null)" ] || [ ! -e build/build.ninja ]; then \
		meson setup $$(test ! -e build/build.ninja || echo --reconfigure) build $$options && \
		echo "$$options" >build/options; \
	fi

deps:
	@tools/deps install

# Whatever build/ was made for, the other backends are built beside it, and tested as well.
test: deps
	@$(MAKE) --no-print-directory all $(others)
	@tools/test build $(others) -- $(PYTEST)

$(others):
	@[ -e $@/build.ninja ] || meson setup $@ -Dtls=$(@:build-%=%)
	@ninja -C $@ $(PROGRAMS)

# What was found is replayed in one more build, which counts the lines that it reaches.
fuzz_build = build-fuzz$(if $(filter afl,$(FUZZER)),-afl)
fuzz_cc = $(if $(filter afl,$(FUZZER)),afl-clang-fast,clang)
fuzz_coverage = -fprofile-instr-generate -fcoverage-mapping
fuzz: deps
	@for program in $(fuzz_cc) clang $(if $(filter yes,$(COVERAGE)),llvm-cov); do \
		command -v $$program >/dev/null || { echo "s6-tlsd: make fuzz needs $$program" >&2; exit 1; }; \
	done
	@[ -e $(fuzz_build)/build.ninja ] || CC=$(fuzz_cc) meson setup $(fuzz_build) -Dfuzz=true
	@ninja -C $(fuzz_build) fuzz
ifeq ($(COVERAGE),yes)
	@[ -e build-fuzz-coverage/build.ninja ] || \
		LLVM_PROFILE_FILE=/dev/null CC=clang meson setup build-fuzz-coverage -Dfuzz=true \
		-Dc_args='$(fuzz_coverage)' -Dc_link_args='$(fuzz_coverage)'
	@ninja -C build-fuzz-coverage fuzz
endif
	@tools/fuzz $(if $(filter afl,$(FUZZER)),-a) $(if $(filter yes,$(COVERAGE)),-c build-fuzz-coverage) \
		$(fuzz_build) $(SECONDS)

proof:
	@tools/deps install-proof
	@tools/proof

coverage: deps
	@tools/deps install-proof
	@tools/coverage

demo: deps
	@$(MAKE) --no-print-directory all
	@demo/demo.sh

bench:
	@tools/deps install-bench
	@$(MAKE) --no-print-directory all $(others)
	@tools/python3 bench/run

# Builds only what is not built: `sudo make install` after `make` leaves no file of root's in build/.
built = $(PROGRAMS:%=build/%)
install: $(if $(filter-out $(wildcard $(built)),$(built)),all)
	install -d $(DESTDIR)$(PREFIX)/bin $(DESTDIR)$(PREFIX)/share/man/man1 $(DESTDIR)$(PREFIX)/share/man/man8
	install -m 755 $(built) $(DESTDIR)$(PREFIX)/bin/
	install -m 644 $(wildcard man/*.1) $(DESTDIR)$(PREFIX)/share/man/man1/
	install -m 644 $(wildcard man/*.8) $(DESTDIR)$(PREFIX)/share/man/man8/

clean:
	rm -rf build build-*

.PHONY: all configure deps test fuzz proof coverage demo bench install clean $(others)
