"""placeholder"""
def vjp_text(*a): raise NotImplementedError
def sweep(*a): return []
