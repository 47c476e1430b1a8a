module weir/tests/bench

go 1.26.0
