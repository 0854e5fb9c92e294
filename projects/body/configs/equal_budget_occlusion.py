_base_ = './equal_budget.py'

# parts covered, blur, grey, light; needs albumentations 1.4
train_pipeline = _base_.train_pipeline
train_pipeline.insert(
    7,
    dict(
        type='Albumentation',
        transforms=[
            dict(
                type='CoarseDropout',
                max_holes=1,
                max_height=0.4,
                max_width=0.4,
                min_holes=1,
                min_height=0.2,
                min_width=0.2,
                p=0.5,
            ),
            dict(type='Blur', p=0.1),
            dict(type='MedianBlur', p=0.1),
            dict(type='ToGray', p=0.05),
            dict(type='RandomBrightnessContrast', p=0.3),
        ],
    ),
)
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
