module tinh.local/toolchain/pause

go 1.26
