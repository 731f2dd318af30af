module tinh.local/toolchain/load

go 1.26
