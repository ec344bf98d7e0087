"""Root file systems made of .deb files without running, unpacking or owning anything: no root, no container engine.

    .deb ──package──▶ Entry… ─┐
    .deb ──package──▶ Entry… ─┼─entries──▶ Rootfs ──linkage──▶ does all that it ships start?
    what scripts would do ────┘                └────tar──────▶ a layer of an image
         (generated)

A root file system is a value: sorted entries that say of each path what it is, whose it is, where it came from, and
where in a temporary file (the spool) its bytes are.
"""
