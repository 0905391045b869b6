"""What the sheet "help" of a review says, in Chinese and in English."""

LINES = (
    (
        "这是从您的文件中提取出的全部问答，每行一条。"
        "请在 Excel、WPS 或 LibreOffice 中修改后另存为 .xlsx。",
        "These are all questions and answers extracted from your files, one per line. Edit them in "
        "Excel, WPS or LibreOffice and save them as .xlsx.",
    ),
    (
        "修改：直接改 question（问题）和 answer（答案）两列。其他列的改动不影响结果。",
        "Edit: change the columns question and answer. Changes in other columns have no effect.",
    ),
    (
        "删除：在 decision 列选择 delete（或输入 删除），或者直接删掉整行。理由可写在 note 列。",
        "Delete: choose delete in the column decision, or remove the whole line. The column note "
        "takes the reason.",
    ),
    (
        "新增：在最后添加一行，row 列留空，填写 question 和 answer。",
        "Add: write question and answer in a new line at the end and leave the column row empty.",
    ),
    (
        "挽救：question 和 answer 都为空的行是程序未能识别的内容，原文在 original 列；"
        "填写这两列即可加入，不填则不采用。",
        "Rescue: where question and answer are empty, the program could not make a pair of the "
        "text in the column original. Fill in both to use it; otherwise it stays out.",
    ),
    (
        "请勿改动 row、source、locator 三列。可以排序、筛选、调整列的次序、添加自己的列；"
        "排序时请选中所有列。",
        "Leave the columns row, source and locator as they are. You may sort, filter, move columns "
        "and add your own; sort all columns together.",
    ),
    (
        "flags 列标出程序的疑问，suggestion 列给出建议：红色行若不修改将被剔除，黄色行请核对，"
        "绿色行沿用了上一次的修改。“row 17”指 row 列为 17 的行。",
        "The column flags shows what the program doubts and suggestion what may be done: red lines "
        "are rejected unless you change them, yellow ones deserve a look, green ones carry an "
        'earlier edit. "row 17" is the line with 17 in the column row.',
    ),
    (
        "请把修改后的文件另存到别处（重新运行会覆盖原文件），"
        "再在配置中写明：corpus: reviewed: 路径.xlsx",
        "Save the edited file in another folder (a new run overwrites this one) and name it in the "
        "configuration: corpus: reviewed: path.xlsx",
    ),
    (
        "如果之后源文件有改动，程序会拒绝旧的审阅文件；"
        "请重新运行 snakemake review，已有的修改会带入新文件。",
        "If a source changes later, this file is refused. Run `snakemake review` again; it "
        "carries the edits over to a new one.",
    ),
)
