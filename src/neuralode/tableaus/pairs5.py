"""The pairs of orders 5 and 4 of Fehlberg and of Cash and Karp; the solution of order 5 is propagated.

The seventh stage is at y1 and so the next step's first: it costs nothing, and with it there is a continuous extension
of order 4. The order conditions leave one weight free: b_6(theta) = b_6 (3 theta^2 - 2 theta^3) + alpha theta^2 (1 -
theta)^2, which keeps the solution once differentiable over steps. Here alpha is, to the nearest eighth, what makes the
residuals of the conditions of order 5 smallest (the integral over theta of the sum of their squares).
"""

from .tableau import Tableau, row

CASH_KARP = Tableau(
    name="cash_karp",
    order=5,
    a=(
        row(),
        row("1/5"),
        row("3/40", "9/40"),
        row("3/10", "-9/10", "6/5"),
        row("-11/54", "5/2", "-70/27", "35/27"),
        row("1631/55296", "175/512", "575/13824", "44275/110592", "253/4096"),
        row("37/378", 0, "250/621", "125/594", 0, "512/1771"),
    ),
    b=row("37/378", 0, "250/621", "125/594", 0, "512/1771", 0),
    c=row(0, "1/5", "3/10", "3/5", 1, "7/8", 1),
    error=row("-277/64512", 0, "6925/370944", "-6925/202752", "-277/14336", "277/7084", 0),
    error_order=4,
    dense=(
        row(1, "-365711/129024", "592301/193536", "-6931/6144"),
        row(0, 0, 0, 0),
        row(0, "2998775/741888", "-7204325/1112832", "30475/10752"),
        row(0, "-310775/405504", "1444325/608256", "-5725/4096"),
        row(0, "-12431/28672", "12431/14336", "-12431/28672"),
        row(0, "-21361/14168", "29553/7084", "-19/8"),
        row(0, "3/2", -4, "5/2"),
    ),
    dense_order=4,
    source="Cash & Karp, ACM Trans. Math. Softw. 16 (1990) 201-222",
)

FEHLBERG5 = Tableau(
    name="fehlberg5",
    order=5,
    a=(
        row(),
        row("1/4"),
        row("3/32", "9/32"),
        row("1932/2197", "-7200/2197", "7296/2197"),
        row("439/216", -8, "3680/513", "-845/4104"),
        row("-8/27", 2, "-3544/2565", "1859/4104", "-11/40"),
        row("16/135", 0, "6656/12825", "28561/56430", "-9/50", "2/55"),
    ),
    b=row("16/135", 0, "6656/12825", "28561/56430", "-9/50", "2/55", 0),
    c=row(0, "1/4", "3/8", "12/13", 1, "1/2", 1),
    error=row("1/360", 0, "-128/4275", "-2197/75240", "1/50", "2/55", 0),
    error_order=4,
    dense=(
        row(1, "-14567/5760", "21877/8640", "-1019/1152"),
        row(0, 0, 0, 0),
        row(0, "22456/4275", "-108112/12825", "632/171"),
        row(0, "-3851341/1203840", "15209831/1805760", "-103259/21888"),
        row(0, "793/800", "-1081/400", "49/32"),
        row(0, "-887/440", "919/220", "-17/8"),
        row(0, "3/2", -4, "5/2"),
    ),
    dense_order=4,
    source="Fehlberg, NASA TR R-315 (1969), table III, formula 2",
)
