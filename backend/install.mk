# SPDX-License-Identifier: GPL-2.0-or-later
#
# Installing backend/, as built for this machine in build/host/.  Included by
# the top Makefile.
#
#	make install-grantd	what a driver domain needs
#	make install-toolstack	what the control domain needs for the Xen bus
#	make install-broker	the same, and what it needs for virtio-mmio
#	make install		both: dom0 of a system without driver domain
#	make install-modules	a guest: its kernel modules, by DKMS
#	make uninstall		whichever of the first four
#
# The usual variables: DESTDIR, prefix, exec_prefix, sbindir, datarootdir,
# mandir, INSTALL, INSTALL_PROGRAM, INSTALL_DATA; and systemdunitdir,
# modulesloaddir, completiondir.  Nothing is started or enabled.

prefix		?= /usr/local
exec_prefix	?= $(prefix)
sbindir		?= $(exec_prefix)/sbin
datarootdir	?= $(prefix)/share
mandir		?= $(datarootdir)/man
completiondir	?= $(datarootdir)/bash-completion/completions
systemdunitdir	?= $(prefix)/lib/systemd/system
modulesloaddir	?= $(prefix)/lib/modules-load.d
INSTALL		?= install
INSTALL_PROGRAM	?= $(INSTALL) -m 0755
INSTALL_DATA	?= $(INSTALL) -m 0644

.PHONY: install install-grantd install-toolstack install-broker \
	install-common install-modules uninstall

# $(1): unit.  The units name /usr/sbin, so that they can be checked as they
# are.
define vg_install_unit
	$(INSTALL) -d $(DESTDIR)$(systemdunitdir)
	sed 's,=/usr/sbin/,=$(sbindir)/,' backend/units/$(1).service \
		>build/host/$(1).service
	$(INSTALL_DATA) build/host/$(1).service \
		$(DESTDIR)$(systemdunitdir)/$(1).service
endef

# $(1): program, and its unit.
define vg_install_daemon
	$(INSTALL) -d $(DESTDIR)$(sbindir) $(DESTDIR)$(mandir)/man8
	$(INSTALL_PROGRAM) build/host/$(1) $(DESTDIR)$(sbindir)/$(1)
	$(INSTALL_DATA) backend/man/$(1).8 $(DESTDIR)$(mandir)/man8/$(1).8
	$(call vg_install_unit,$(1))
endef

install: install-grantd install-broker

install-grantd: build/host/virtio-grantd install-common
	$(call vg_install_daemon,virtio-grantd)

install-toolstack: install-common
	$(call vg_install_unit,virtio-grant-watch)

install-broker: build/host/virtio-grant-broker install-toolstack
	$(call vg_install_daemon,virtio-grant-broker)

install-common: build/host/virtio-grantctl
	$(INSTALL) -d $(DESTDIR)$(sbindir) $(DESTDIR)$(mandir)/man8 \
		$(DESTDIR)$(completiondir) $(DESTDIR)$(modulesloaddir)
	$(INSTALL_PROGRAM) build/host/virtio-grantctl \
		$(DESTDIR)$(sbindir)/virtio-grantctl
	$(INSTALL_DATA) backend/man/virtio-grantctl.8 \
		$(DESTDIR)$(mandir)/man8/virtio-grantctl.8
	$(INSTALL_DATA) backend/completion/virtio-grantctl \
		$(DESTDIR)$(completiondir)/virtio-grantctl
	$(INSTALL_DATA) backend/units/virtio-grant.conf \
		$(DESTDIR)$(modulesloaddir)/virtio-grant.conf

install-modules:
	$(MAKE) -C kernel dkms-install DESTDIR='$(DESTDIR)'

uninstall:
	rm -f $(DESTDIR)$(systemdunitdir)/virtio-grant-watch.service \
		$(foreach p,virtio-grantd virtio-grant-broker virtio-grantctl,\
		$(DESTDIR)$(sbindir)/$(p) $(DESTDIR)$(mandir)/man8/$(p).8 \
		$(DESTDIR)$(systemdunitdir)/$(p).service) \
		$(DESTDIR)$(completiondir)/virtio-grantctl \
		$(DESTDIR)$(modulesloaddir)/virtio-grant.conf
